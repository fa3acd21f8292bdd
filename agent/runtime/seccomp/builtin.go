package seccomp

import "slices"

//go:generate go test -run ^TestGenerated$ -update .

// Builtin is the built-in profile's filter for a container with these
// capabilities, bit n for number n. It takes no time worth counting: the
// program is there, and only some of its results are filled in.
func Builtin(caps uint64) *Filter {
	code := slices.Clone(builtinCode[:])
	for _, p := range builtinPatches {
		if p.caps&caps != 0 {
			code[p.at].K = allow
		}
	}
	return &Filter{Code: code}
}

// BuiltinName says what the built-in profile is.
const BuiltinName = "moby's default profile " + builtinVersion

// Concerns returns which of these capabilities open calls in the built-in profile.
func Concerns(caps uint64) (open uint64) {
	for _, p := range builtinPatches {
		open |= p.caps & caps
	}
	return open
}

const allow = 0x7fff0000 // SECCOMP_RET_ALLOW
