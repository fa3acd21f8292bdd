package functional

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/clusterd/clusterd/functional/lab"
)

// standIn is an image under a well-known name, made of busybox and a script that
// acts roughly like the real thing.
type standIn struct {
	image   string // repository and tag, as the lab's registry has it
	ports   string // where it listens
	user    string // whom its entry point becomes
	data    string // its directory, that user's; a volume of the image's
	needs   string // the variable it doesn't start without
	conf    string // the file it doesn't start without
	pidFile string
	runAs   string // the image's USER
	command string
}

// standIns are the images of testdata/docker.
var standIns = []standIn{
	{image: "library/redis:7", ports: "6379", user: "redis", data: "/data", command: "redis-server"},
	{image: "library/postgres:16", ports: "5432", user: "postgres", data: "/var/lib/postgresql/data", needs: "POSTGRES_PASSWORD", pidFile: "/tmp/postmaster.pid"},
	{image: "library/mysql:8", ports: "3306", user: "mysql", data: "/var/lib/mysql", needs: "MYSQL_ROOT_PASSWORD"},
	{image: "library/registry:2", ports: "5050", data: "/var/lib/registry"},
	{image: "prometheus/node-exporter:latest", ports: "9100", runAs: "nobody"},
	{image: "cadvisor/cadvisor:v0.47.0", ports: "8081"},
	{image: "coreos/etcd:v3.5.0", ports: "12379", data: "/etcd-data", needs: "ETCD_NAME"},
	{image: "library/consul:1.15", ports: "8500", user: "consul", data: "/consul/data"},
	{image: "library/memcached:1.6", ports: "11211", runAs: "memcache"},
	{image: "library/haproxy:2.8", ports: "18404", conf: "/usr/local/etc/haproxy/haproxy.cfg"},
	{image: "prom/prometheus:v2.45.0", ports: "9090", runAs: "nobody", data: "/prometheus", conf: "/etc/prometheus/prometheus.yml"},
	{image: "grafana/grafana:9.5.0", ports: "3000", user: "grafana", data: "/var/lib/grafana", needs: "GF_SECURITY_ADMIN_PASSWORD"},
	{image: "jenkins/jenkins:lts", ports: "8088", runAs: "jenkins", data: "/var/jenkins_home", needs: "JAVA_OPTS"},
	{image: "gitlab/gitlab-runner:latest", conf: "/etc/gitlab-runner/config.toml"},
	{image: "library/influxdb:1.8", ports: "8086", data: "/var/lib/influxdb", needs: "PRE_CREATE_DB"},
	{image: "library/rabbitmq:3", ports: "5672", user: "rabbitmq", data: "/var/lib/rabbitmq", pidFile: "/run/rabbitmq.pid"},
	{image: "library/traefik:v2.10", ports: "8089"},
	{image: "library/webapp:1", needs: "INSTANCE"},
	{image: "library/elasticsearch:7.17.0", ports: "9200", user: "elastic", data: "/usr/share/elasticsearch/data", needs: "ES_JAVA_OPTS"},
	{image: "gliderlabs/logspout:v3", ports: "8014"},
	{image: "library/zookeeper:latest", ports: "2181", user: "zookeeper", data: "/data", needs: "ZOO_MY_ID"},
	{image: "library/vault:1.13", ports: "8200", user: "vault", data: "/vault/file", needs: "VAULT_LOCAL_CONFIG"},
	{image: "andyshinn/dnsmasq:2.83", ports: "5353", pidFile: "/run/dnsmasq.pid"},
	{image: "library/mongo:6", ports: "27017", user: "mongodb", data: "/data/db"},
	{image: "library/nginx:latest", ports: "80 443", conf: "/etc/nginx/nginx.conf", command: "nginx"},
	{image: "library/nats:2.9", ports: "18222"},
	{image: "library/couchdb:3", ports: "5984", user: "couchdb", data: "/opt/couchdb/data"},
	{image: "statsd/statsd:latest", ports: "8126"},
}

const userID = 999 // of whoever a stand-in becomes

// build makes the image on top of busybox.
func (s standIn) build(base v1.Image, script []byte) (v1.Image, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	add := func(kind byte, name string, mode int64, owner int, content string) {
		h := &tar.Header{Typeflag: kind, Name: name, Mode: mode, Uid: owner, Gid: owner, Size: int64(len(content)), ModTime: time.Unix(0, 0)}
		_ = archive.WriteHeader(h) // a bytes.Buffer takes everything; Close complains
		_, _ = io.WriteString(archive, content)
	}
	name, _, _ := strings.Cut(filepath.Base(s.image), ":")
	user := max(s.user, s.runAs)
	accounts := "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
	if user != "" && user != "nobody" {
		accounts += fmt.Sprintf("%s:x:%d:%d::/:/bin/sh\n", user, userID, userID)
	}
	add(tar.TypeReg, "etc/passwd", 0o644, 0, accounts)
	add(tar.TypeReg, "usr/local/bin/serve", 0o755, 0, string(script))
	add(tar.TypeReg, "usr/local/bin/answer", 0o755, 0, "#!/bin/sh\necho "+name+"\n")
	add(tar.TypeDir, "run/", 0o1777, 0, "")
	if s.data != "" {
		owner := userID
		if user == "nobody" {
			owner = 65534
		}
		add(tar.TypeDir, strings.TrimPrefix(s.data, "/")+"/", 0o755, owner, "")
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(out.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	c := &file.Config
	c.Entrypoint, c.Cmd, c.User = []string{"/usr/local/bin/serve"}, strings.Fields(s.command), s.runAs
	c.Env = append(c.Env, "S_NAME="+name, "S_PORTS="+s.ports, "S_USER="+s.user, "S_DATA="+s.data, "S_NEEDS="+s.needs, "S_CONF="+s.conf, "S_PID="+s.pidFile)
	if s.data != "" {
		c.Volumes = map[string]struct{}{s.data: {}}
	}
	return mutate.ConfigFile(img, file)
}

// dockerUnit is what is expected of a unit of testdata/docker.
type dockerUnit struct {
	unit      string
	container string // what docker ps -a calls it when it has been started; empty: none
	kind      string // "direct": systemd's own child; "shell": behind one; "done": it ends by itself; "other"
	keeps     bool   // docker ps -a shows the container when the unit is stopped
	port      string // answers there, on the machine
	says      string // what the journal has of it
}

var dockerUnits = []dockerUnit{
	{"redis.service", "redis", "direct", false, "6379", "redis: ready as 999 with redis-server --appendonly yes"},
	{"postgres.service", "postgres", "direct", true, "5432", "postgres: ready as 999"},
	{"mysql.service", "mysql", "direct", false, "3306", "with --character-set-server=utf8mb4"},
	{"registry.service", "registry", "direct", false, "5050", "registry: ready as 0"},
	{"node-exporter.service", "node-exporter", "direct", true, "9100", "node-exporter: ready as 65534 with --path.procfs=/host/proc"},
	{"cadvisor.service", "cadvisor", "direct", true, "8081", "ready as 0 with -port=8081"},
	{"etcd.service", "etcd", "direct", true, "12379", "--advertise-client-urls=http://10.0.0.9:12379"},
	{"consul.service", "consul", "direct", true, "8500", "with agent -server -bootstrap"},
	{"memcached.service", "memcached", "direct", false, "11211", "memcached: ready as 999 with memcached -m 64"},
	{"haproxy.service", "haproxy", "direct", true, "18404", "haproxy: ready as 0"},
	{"prometheus.service", "prometheus", "direct", true, "9090", "prometheus: ready as 65534"},
	{"grafana-storage.service", "grafana-storage", "done", true, "", ""},
	{"grafana.service", "grafana", "direct", true, "3000", "grafana: ready as 999"},
	{"backup.service", "", "done", false, "", ""},
	{"backup.timer", "", "other", false, "", ""},
	{"jenkins.service", "jenkins", "direct", true, "8088", "jenkins: ready as 999"},
	{"gitlab-runner.service", "gitlab-runner", "direct", false, "", "gitlab-runner: ready as 0"},
	{"influxdb.service", "influxdb", "shell", true, "8086", "influxdb: ready as 0"},
	{"rabbitmq@1.service", "rabbitmq-1", "direct", true, "", "rabbitmq: ready as 999"},
	{"traefik.service", "traefik", "shell", false, "8089", "traefik: ready as 0 with --api.insecure=true"},
	{"migrate.service", "", "done", false, "", "migrated"},
	{"webapp@18001.service", "webapp-18001", "direct", false, "18001", "webapp: ready as 0"},
	{"webapp@18002.service", "webapp-18002", "direct", false, "18002", "webapp: ready as 0"},
	{"announce.service", "", "other", false, "", ""},
	{"elasticsearch.service", "es", "direct", true, "9200", "elasticsearch: ready as 999"},
	{"logspout.service", "logspout", "direct", true, "8014", "logspout: ready as 0 with syslog://logs.example.com:55555"},
	{"zookeeper@1.service", "zookeeper.1", "direct", false, "2181", "zookeeper: ready as 999"},
	{"vault.service", "vault", "direct", true, "", "vault: ready as 999 with server"},
	{"dnsmasq.service", "dnsmasq", "direct", false, "5353", "dnsmasq: ready as 0 with -S /consul/10.17.0.2"},
	{"docker-cleanup.service", "", "done", false, "", ""},
	{"docker-cleanup.timer", "", "other", false, "", ""},
	{"mongo.service", "mongo", "direct", true, "27017", "mongo: ready as 999 with mongod --bind_ip_all"},
	{"nginx.service", "nginx1", "direct", true, "80", "nginx: ready as 0 with nginx -g daemon off;"},
	{"api.service", "api", "direct", false, "", "api's cache answers: memcached"},
	{"nats.service", "nats", "direct", false, "18222", "nats: ready as 1000 with --http_port 18222"},
	{"couchdb.service", "couchdb", "direct", true, "5984", "couchdb: ready as 999"},
	{"statsd.service", "statsd", "direct", false, "8126", "statsd: ready as 0"},
}

// dockerMachine is what whoever wrote the units has on the machine.
const dockerMachine = `set -e
rm -f /usr/local/bin/docker # the host's, if it has one
cat >> /etc/nsrun/registries.conf <<-END
	[Registry quay.io]
	Location=` + lab.RegistryAddress + `

	[Registry gcr.io]
	Location=` + lab.RegistryAddress + `
	END
mkdir -p /etc/default /srv/nginx /srv/haproxy /srv/gitlab-runner/config /srv/couchdb
echo http > /srv/nginx/nginx.conf
echo global > /srv/haproxy/haproxy.cfg
echo concurrent = 1 > /srv/gitlab-runner/config/config.toml
echo global: > /srv/prometheus.yml
echo ADVERTISE=10.0.0.9 > /etc/default/etcd.env
printf '# of mysql\nMYSQL_ROOT_PASSWORD="with quotes"\n' > /etc/default/mysql.env
printf 'VERSION=1\nMODE=production\n' > /etc/default/webapp.env
`

// TestB01_UnitsWrittenForDocker runs units in the style people write them for
// docker, unchanged, with nsrun as /usr/bin/docker.
func TestB01_UnitsWrittenForDocker(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "docker", Machines: 1})
	c.pushStandIns()
	c.must("m1", "sh", "-c", dockerMachine)
	var names []string
	for _, u := range dockerUnits {
		names = append(names, u.unit)
	}
	begun := time.Now()
	step := func(what string) {
		t.Logf("%v: %s", time.Since(begun).Round(time.Millisecond), what)
	}
	r := c.tryIn("testdata/docker", append([]string{"start"}, names...)...)
	step("started")
	if r.code != 0 {
		t.Errorf("start: %v", r)
	}
	mains := c.dockerRuns()
	step("looked at")
	c.must("m1", append([]string{"systemctl", "restart"}, c.dockerStaying()...)...)
	step("restarted")
	for unit, main := range c.dockerRuns() {
		if main == mains[unit] {
			t.Errorf("%s: still process %s after a restart", unit, main)
		}
	}
	c.must("m1", "systemctl", "reload", "haproxy")
	c.eventually("haproxy reloads", soon, func() (string, bool) {
		seen := c.must("m1", "journalctl", "-o", "cat", "-u", "haproxy", "-n", "5")
		return seen, strings.Contains(seen, "haproxy: reloads")
	})
	c.eventually("the timers' units have run", soon, func() (string, bool) {
		seen := c.must("m1", "sh", "-c", "tar -t -f /srv/backup/grafana.tar; systemctl show -p Result,ExecMainExitTimestampMonotonic docker-cleanup")
		return seen, strings.Contains(seen, "var/lib/grafana/") && strings.Contains(seen, "Result=success") && !strings.Contains(seen, "Monotonic=0")
	})
	step("looked at again")
	stopping := time.Now()
	c.must("m1", append([]string{"systemctl", "stop"}, names...)...)
	step("stopped")
	if got := c.must("m1", "sh", "-c", "cd $(docker volume inspect -f '{{.Mountpoint}}' mongo) && cat initiated && ls stopping"); got != "999\nstopping" {
		t.Errorf("hooks of mongo's left %q", got)
	}
	if d := time.Since(stopping); d > 15*time.Second {
		t.Errorf("stopping took %v: something waited for a timeout", d)
	}
	c.dockerStopped()
	c.byHand("etcd", "12379")
}

// byHand runs one of the units as systemd's own, of which the cluster knows
// nothing: nsrun stays beside the container, as docker run does.
func (c *cluster) byHand(name, port string) {
	c.Helper()
	text, err := os.ReadFile("testdata/docker/" + name + ".service")
	if err != nil {
		c.Fatal(err)
	}
	var out bytes.Buffer
	code, err := c.lab.Shell(c.Context(), "m1", []string{"tee", etcUnits + "/by-hand.service"}, strings.NewReader(strings.ReplaceAll(string(text), "%p", name)), &out, &out)
	if err != nil || code != 0 {
		c.Fatalf("write the unit: exit code %d, %v: %s", code, err, out.String())
	}
	for _, verb := range []string{"start", "restart"} {
		c.must("m1", "systemctl", verb, "by-hand")
		c.eventually("it answers", soon, func() (string, bool) {
			seen, _ := c.on("m1", "sh", "-c", "systemctl is-active by-hand; busybox nc -w 5 127.0.0.1 "+port+" < /dev/null")
			return seen, seen == "active\n"+name
		})
	}
	c.must("m1", "systemctl", "stop", "by-hand")
	p := c.show("m1", "by-hand", "ActiveState", "Result")
	if p["ActiveState"] != "inactive" || p["Result"] != "success" {
		c.Errorf("by hand: after stop it is %v\n%s", p, c.must("m1", "journalctl", "-o", "cat", "-n", "8", "-u", "by-hand"))
	}
}

func (c *cluster) pushStandIns() {
	c.Helper()
	script, err := os.ReadFile("testdata/docker/serve.sh")
	if err != nil {
		c.Fatal(err)
	}
	base, err := lab.Busybox(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	images := map[string]v1.Image{}
	for _, s := range standIns {
		if images[s.image], err = s.build(base, script); err != nil {
			c.Fatalf("build %s: %v", s.image, err)
		}
	}
	if err := c.lab.Push(c.Context(), images); err != nil {
		c.Fatal(err)
	}
}

// dockerStaying are the units that stay.
func (c *cluster) dockerStaying() (names []string) {
	for _, u := range dockerUnits {
		if u.kind == "direct" || u.kind == "shell" {
			names = append(names, u.unit)
		}
	}
	return names
}

// dockerRuns fails unless every unit is as it should be while it runs, and so is
// what docker shows. It returns the main process of each that stays.
func (c *cluster) dockerRuns() map[string]string {
	c.Helper()
	ps := c.must("m1", "docker", "ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}")
	mains := map[string]string{}
	for _, u := range dockerUnits {
		p := c.show("m1", u.unit, "ActiveState", "SubState", "Result", "MainPID", "ControlGroup", "NRestarts")
		state := p["ActiveState"]
		switch {
		case u.kind == "done" && p["Result"] == "success" && (state == "active" || state == "inactive"):
		case u.kind != "done" && state == "active" && p["Result"] == "success" && p["NRestarts"] == "0" || strings.HasSuffix(u.unit, ".timer") && state == "active":
		default:
			c.Errorf("%s: %v\n%s", u.unit, p, c.must("m1", "journalctl", "-o", "cat", "-n", "12", "-u", u.unit))
			continue
		}
		if u.says != "" {
			if said := c.must("m1", "journalctl", "-o", "cat", "-u", u.unit); !strings.Contains(said, u.says) {
				c.Errorf("%s: want it to say %q, it said\n%s", u.unit, u.says, said)
			}
		}
		switch u.kind {
		case "direct":
			c.firstProcess(u.unit, p)
			mains[u.unit] = p["MainPID"]
		case "shell":
			mains[u.unit] = p["MainPID"]
		}
		if u.kind != "done" && u.container != "" && !strings.Contains(ps, u.container+" running Up ") {
			c.Errorf("%s: docker ps shows no running %s:\n%s", u.unit, u.container, ps)
		}
		if u.port != "" {
			name, _, _ := strings.Cut(u.unit, ".")
			name, _, _ = strings.Cut(name, "@")
			if got := c.must("m1", "sh", "-c", "busybox nc -w 5 127.0.0.1 "+u.port+" < /dev/null"); got != name {
				c.Errorf("%s: on port %s answers %q", u.unit, u.port, got)
			}
		}
	}
	return mains
}

// firstProcess fails unless the main process is systemd's child and the
// container's first, and none of ours is in the unit's cgroup (B-02).
func (c *cluster) firstProcess(unit string, p map[string]string) {
	c.Helper()
	script := "grep -E '^(PPid|NSpid):' /proc/" + p["MainPID"] + "/status; for d in /sys/fs/cgroup /sys/fs/cgroup/systemd; do [ -e $d" + p["ControlGroup"] + "/cgroup.procs ] && " +
		"for p in $(cat $d" + p["ControlGroup"] + "/cgroup.procs); do readlink /proc/$p/exe; done; done; true"
	seen := c.must("m1", "sh", "-c", script)
	lines := strings.Split(seen, "\n")
	if len(lines) < 3 || !slices.Contains(lines, "PPid:\t1") || !strings.HasSuffix(lines[1], "\t1") && !strings.HasSuffix(lines[0], "\t1") || strings.Contains(seen, "nsrun") {
		c.Errorf("B-02: %s: main process %s: %s", unit, p["MainPID"], seen)
	}
}

// dockerStopped fails unless all units are stopped as they should be, and docker
// shows the containers that docker would.
func (c *cluster) dockerStopped() {
	c.Helper()
	ps := "\n" + c.must("m1", "docker", "ps", "-a", "--format", "{{.Names}} {{.Status}}") + "\n"
	for _, u := range dockerUnits {
		p := c.show("m1", u.unit, "ActiveState", "Result")
		if p["ActiveState"] != "inactive" || p["Result"] != "success" {
			c.Errorf("%s: after stop it is %v\n%s", u.unit, p, c.must("m1", "journalctl", "-o", "cat", "-n", "8", "-u", u.unit))
		}
		if u.container == "" {
			continue
		}
		shown := strings.Contains(ps, "\n"+u.container+" Exited")
		if shown != u.keeps {
			c.Errorf("%s: docker ps -a shows its container: %v, want %v:%s", u.unit, shown, u.keeps, ps)
		}
	}
	if out := c.must("m1", "docker", "ps", "-q"); out != "" {
		c.Errorf("docker ps shows %s", out)
	}
	if out := c.must("m1", "sh", "-c", "cat /run/nginx.port; ls -d /sys/class/net/nr-* 2>/dev/null || true"); out != "80" {
		c.Errorf("docker port said, and links are left: %q, want 80 and none", out)
	}
	if mounts := c.must("m1", "sh", "-c", "grep -c /var/lib/nsrun/ /proc/self/mountinfo || true"); mounts != "0" {
		c.Errorf("%s mounts are left", mounts)
	}
}
