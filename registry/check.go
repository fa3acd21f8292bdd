package registry

import "fmt"

// CheckTransaction returns ErrInvalid for what no Store takes: more than
// OpsMax operations or guards, an empty key, a key put twice, or put and
// deleted at once.
func CheckTransaction(guards []Guard, ops []Op) error {
	if len(guards) > OpsMax || len(ops) > OpsMax {
		return fmt.Errorf("%d guards and %d operations, at most %d of each: %w", len(guards), len(ops), OpsMax, ErrInvalid)
	}
	for _, g := range guards {
		if g.Key == "" {
			return fmt.Errorf("guard without a key: %w", ErrInvalid)
		}
	}
	put := make(map[string]bool, len(ops))
	for _, op := range ops {
		switch {
		case op.Delete != (Range{}):
			if op.Delete.From == "" {
				return fmt.Errorf("deletion without a first key: %w", ErrInvalid)
			}
		case op.Key == "":
			return fmt.Errorf("operation without a key: %w", ErrInvalid)
		case put[op.Key]:
			return fmt.Errorf("%s put twice: %w", op.Key, ErrInvalid)
		default:
			put[op.Key] = true
		}
	}
	for _, op := range ops {
		if op.Delete == (Range{}) {
			continue
		}
		for key := range put {
			if op.Delete.Contains(key) {
				return fmt.Errorf("%s both put and deleted: %w", key, ErrInvalid)
			}
		}
	}
	return nil
}
