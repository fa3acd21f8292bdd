package gate

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"
)

// slowHands are credentials whose handshake takes a second.
type slowHands struct {
	credentials.TransportCredentials
	now, most atomic.Int64
}

func (s *slowHands) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	time.Sleep(time.Second)
	return conn, nil, nil
}

// TestTurnstile: of many that come at once, those that would be served too late
// are turned away at once, and come again.
func TestTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hands := &slowHands{}
		gate := newTurnstile(hands)
		places := int64(cap(gate.places))
		var through, away atomic.Int64
		var coming sync.WaitGroup
		for range 10 * places {
			coming.Go(func() {
				begun := time.Now()
				switch _, _, err := gate.ServerHandshake(nil); {
				case err == nil:
					through.Add(1)
				case errors.Is(err, errTooMany):
					away.Add(1)
				default:
					t.Error(err)
				}
				if took := time.Since(begun); took > 2*turnMax {
					t.Errorf("it took %v", took)
				}
			})
		}
		coming.Wait()
		if hands.most.Load() > places || through.Load() < places || through.Load()+away.Load() != 10*places {
			t.Errorf("%d at once, %d through, %d turned away; there are %d places", hands.most.Load(), through.Load(), away.Load(), places)
		}
	})
}
