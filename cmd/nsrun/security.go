package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/agent/runtime"
)

// securityOptions lists what --security-opt takes, for messages.
const securityOptions = "there are seccomp=unconfined|FILE|builtin, no-new-privileges[=true|false], apparmor=unconfined|NAME, mask=PATH[:…], unmask=ALL|PATH[:…] and label=disable"

// securityOpt reads one --security-opt, docker's or podman's. Once there was a
// colon where the sign of equality is.
func securityOpt(s *runtime.Spec) func(string) error {
	return func(v string) error {
		name, value, has := strings.Cut(v, "=")
		if !has {
			name, value, has = strings.Cut(v, ":")
		}
		switch name {
		case "no-new-privileges":
			on := true
			if has {
				var err error
				if on, err = strconv.ParseBool(value); err != nil {
					return fmt.Errorf("%s: true or false", v)
				}
			}
			s.NewPrivileges = !on
			return nil
		case "seccomp", "apparmor", "mask", "unmask", "label", "systempaths":
			if value == "" {
				return fmt.Errorf("%s: needs a value; %s", v, securityOptions)
			}
		}
		switch name {
		case "seccomp":
			return seccompOpt(s, value)
		case "apparmor":
			return appArmorOpt(s, value, "/sys/module/apparmor/parameters/enabled")
		case "mask":
			for file := range strings.SplitSeq(value, ":") {
				s.Masked = append(s.Masked, path.Clean(file))
			}
			return nil
		case "unmask":
			s.Unmasked = append(s.Unmasked, strings.Split(value, ":")...)
			return nil
		case "systempaths":
			if value != "unconfined" {
				return fmt.Errorf("%s: there is systempaths=unconfined, which is unmask=ALL", v)
			}
			s.Unmasked = append(s.Unmasked, "ALL")
			return nil
		case "label":
			if value != "disable" {
				return fmt.Errorf("%s: SELinux labels are not used; leave it out", v)
			}
			return nil
		}
		return fmt.Errorf("%s: no such option; %s", v, securityOptions)
	}
}

func seccompOpt(s *runtime.Spec, value string) (err error) {
	switch value {
	case "builtin":
		s.Seccomp = ""
	case runtime.SeccompUnconfined:
		s.Seccomp = value
	default:
		s.Seccomp, err = filepath.Abs(value)
	}
	return err
}

// appArmorOpt takes a profile where AppArmor is: enabled is where the kernel says so.
func appArmorOpt(s *runtime.Spec, value, enabled string) error {
	if value == "unconfined" {
		s.AppArmor = ""
		return nil
	}
	if on, err := os.ReadFile(enabled); err != nil || !strings.HasPrefix(string(on), "Y") {
		return errors.New("apparmor=" + value + ": this kernel runs without AppArmor; leave it out, or write apparmor=unconfined")
	}
	s.AppArmor = value
	return nil
}
