package publish

import "testing"

func TestParse(t *testing.T) {
	for _, test := range []struct{ text, want, err string }{
		{text: "80", want: "80/tcp"},
		{text: "8080:80", want: "8080:80/tcp"},
		{text: "53:53/UDP", want: "53:53/udp"},
		{text: "127.0.0.1:8080:80", want: "127.0.0.1:8080:80/tcp"},
		{text: "127.0.0.1::80", want: "127.0.0.1::80/tcp"},
		{text: "[::1]:8080:80", want: "[::1]:8080:80/tcp"},
		{text: "::1:8080:80", want: "[::1]:8080:80/tcp"},
		{text: "8000-8002:9000-9002/sctp", want: "8000-8002:9000-9002/sctp"},
		{text: "8000-8010:80", want: "8000-8010:80/tcp"},
		{text: ":80", want: "80/tcp"},
		{text: "", err: errForm.Error()},
		{text: "0:80", err: `"0" is no port of the machine; ` + errForm.Error()},
		{text: "80:0", err: errForm.Error()},
		{text: "70000", err: errForm.Error()},
		{text: "80/icmp", err: `protocol "icmp": there are tcp, udp and sctp`},
		{text: "80/", err: `protocol "": there are tcp, udp and sctp`},
		{text: "web:80:80", err: `"web" is no address`},
		{text: "[10.0.0.1]:80:80", err: `"[10.0.0.1]" is no address`},
		{text: "1-2:80-90", err: "2 ports of the machine for 11 of the container; write as many"},
		{text: "10.0.0.1:80:80:80", err: `"10.0.0.1:80" is no address`},
	} {
		p, err := Parse(test.text)
		switch {
		case err != nil && err.Error() != test.err:
			t.Errorf("%q: %v; want %q", test.text, err, test.err)
		case err == nil && (test.err != "" || p.String() != test.want):
			t.Errorf("%q is %s; want %s%s", test.text, p, test.want, test.err)
		}
	}
}

func TestParseExpose(t *testing.T) {
	for text, want := range map[string]string{"80": "80/tcp", "8000-8010/udp": "8000-8010/udp"} {
		if p, err := ParseExpose(text); err != nil || p.String() != want {
			t.Errorf("%q is %s, %v; want %s", text, p, err, want)
		}
	}
	for _, text := range []string{"", "80:80", "x", "9-8", "80/x"} {
		if p, err := ParseExpose(text); err == nil {
			t.Errorf("%q is taken for %s", text, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"80", "127.0.0.1:1-3:1-3/udp", "[::]:1:1", "::1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(p.String()); err != nil || again != p {
			t.Fatalf("%q is %+v, and written as %s it is %+v, %v", text, p, p, again, err)
		}
	})
}
