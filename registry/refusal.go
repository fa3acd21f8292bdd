package registry

import "strings"

// Rules by which a machine itself refuses a unit it was assigned, as the Reason
// of its Observed says: the engine then looks for another machine.
const (
	RuleNameTaken = "name-taken" // the machine has the name for itself; the detail is the path of the file
	RuleUnfit     = "unfit"      // the machine's systemd would refuse or ignore something in the file; the detail says what
)

// Rules by which the engine keeps a unit where it is, though it is to leave: until
// another instance of its template is active, or for good.
const (
	RuleMinAvailable = "min-available"
	RuleTooFew       = "too-few"
)

// RefusalReason is the Reason of an Observed by which a machine refuses a unit.
func RefusalReason(rule, detail string) string { return rule + "(" + detail + ")" }

// CutRefusal takes a RefusalReason apart; false for any other reason.
func CutRefusal(reason string) (rule, detail string, ok bool) {
	for _, rule := range []string{RuleNameTaken, RuleUnfit} {
		if detail, ok := strings.CutPrefix(reason, rule+"("); ok {
			return rule, strings.TrimSuffix(detail, ")"), true
		}
	}
	return "", "", false
}
