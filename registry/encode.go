package registry

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// RecordVersion is the version of the records this software writes and reads.
const RecordVersion = 1

// Message is a record of record.proto.
type Message interface {
	proto.Message
	GetVersion() uint32
}

// Encode returns a record's bytes, equal for equal records. A version of 0 is
// written as RecordVersion; m is not changed.
func Encode(m Message) []byte {
	var head []byte
	if m.GetVersion() == 0 {
		head = []byte{1 << 3, RecordVersion} // field 1, a varint
	}
	opts := proto.MarshalOptions{Deterministic: true}
	b, err := opts.MarshalAppend(head, m)
	if err == nil {
		return b
	}
	// Only text that isn't UTF-8 gets here, such as another program's output.
	clean := proto.Clone(m)
	cleanText(clean.ProtoReflect())
	if b, err = opts.MarshalAppend(head, clean); err != nil {
		panic(fmt.Sprintf("registry: encode %v: %v", m, err))
	}
	return b
}

// cleanText replaces what isn't UTF-8 in m's values; keys of maps are ours.
func cleanText(m protoreflect.Message) {
	clean := func(v protoreflect.Value) protoreflect.Value {
		switch x := v.Interface().(type) {
		case string:
			return protoreflect.ValueOfString(strings.ToValidUTF8(x, "\ufffd"))
		case protoreflect.Message:
			cleanText(x)
		}
		return v
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.IsList():
			for i := range v.List().Len() {
				v.List().Set(i, clean(v.List().Get(i)))
			}
		case field.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, x protoreflect.Value) bool {
				v.Map().Set(k, clean(x))
				return true
			})
		default:
			m.Set(field, clean(v))
		}
		return true
	})
}

// Decode reads a record as T, such as Decode[Unit](rec). What doesn't parse, or
// has a version this software doesn't know, is ErrUnreadable; the error names
// the key.
func Decode[T any, P interface {
	*T
	Message
}](rec Record) (P, error) {
	m := P(new(T))
	if err := proto.Unmarshal(rec.Value, m); err != nil {
		return nil, fmt.Errorf("read record %s: %w: %w", rec.Key, ErrUnreadable, err)
	}
	if v := m.GetVersion(); v != RecordVersion {
		return nil, fmt.Errorf("read record %s: %w: its version is %d, this software knows %d; upgrade this machine's clusterd",
			rec.Key, ErrUnreadable, v, RecordVersion)
	}
	return m, nil
}
