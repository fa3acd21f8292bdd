package container

import (
	"fmt"
	"strings"
)

// shellWords splits a command line as a shell does. What a shell would put
// something else for is an error: there is no shell here, and none where the
// unit runs.
func shellWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	quoted := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted == '\'' && c != '\'':
			word.WriteByte(c)
		case c == '\\':
			if i+1 == len(text) {
				return nil, fmt.Errorf("a backslash ends the line; take it off")
			}
			i++
			if text[i] == '\n' {
				continue
			}
			inWord = true
			if quoted == '"' && strings.IndexByte("\"\\$`", text[i]) < 0 {
				word.WriteByte('\\')
			}
			word.WriteByte(text[i])
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted == 0 && (c == '"' || c == '\''):
			quoted, inWord = c, true
		case c == '$' || c == '`':
			return nil, fmt.Errorf("a shell would replace %s; write what it stands for, or put it in single quotes if it is meant for the container", clip(cutWord(text[i:])))
		case quoted == 0 && strings.IndexByte("|&;<>()", c) >= 0:
			return nil, fmt.Errorf("a shell would take %c for its own; quote it, or give the docker command alone", c)
		case quoted == 0 && strings.IndexByte(" \t\r\n", c) >= 0:
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quoted != 0 {
		return nil, fmt.Errorf("the quote %c is not closed; close it", quoted)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

func cutWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return strings.TrimRight(word, "\"'")
}
