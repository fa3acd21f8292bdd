package engine

import "time"

// limiter is a token bucket: so many a second, and five seconds' worth at once.
type limiter struct {
	perSecond int
	tokens    float64
	filled    time.Time
}

const limiterBurst = 5 // seconds' worth

// refill adds what the time since the last refill brings.
func (l *limiter) refill(now time.Time) {
	full := float64(l.perSecond * limiterBurst)
	if l.filled.IsZero() {
		l.tokens = full
	} else {
		l.tokens = min(full, l.tokens+now.Sub(l.filled).Seconds()*float64(l.perSecond))
	}
	l.filled = now
}

// take takes one token if there is one.
func (l *limiter) take() bool {
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
