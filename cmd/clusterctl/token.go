package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
)

func newToken(p *program) *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:     "token",
		Short:   "Make tokens that let machines join",
		Example: "  clusterctl token create",
	})
	create := &cobra.Command{
		Use:     "create",
		Short:   "Print a token that lets one machine join, once",
		Example: "  clusterd join \"$(clusterctl token create)\"",
		Args:    withArgs(cobra.NoArgs),
	}
	ttl := create.Flags().Duration("ttl", time.Hour, "how long the token can be used")
	create.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		reply, err := client.CreateToken(cmd.Context(), api.TokenRequest{TTL: *ttl})
		if err != nil {
			return fmt.Errorf("token create: %w", err)
		}
		fmt.Fprintln(p.stdout, reply.Token)
		p.note("good for one machine until %s; on it: clusterd join TOKEN", reply.Expires.Local().Format(time.DateTime))
		return nil
	}
	cmd.AddCommand(create)
	return cmd
}
