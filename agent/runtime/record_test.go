package runtime

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/clusterd/clusterd/agent/sheet"
)

// What a field of a record holds must come back, whoever adds one.
func TestEveryFieldOfARecordIsKept(t *testing.T) {
	notKept := map[string]bool{"Volume.Exists": true, "Volume.Fill": true, "Volume.file": true} // they are about the start only
	n := 0
	var fill func(v reflect.Value, where string)
	fill = func(v reflect.Value, where string) {
		n++
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, n, time.UTC)))
			return
		}
		switch v.Kind() {
		case reflect.String:
			v.SetString(fmt.Sprintf("%s\n%d", where, n))
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(-n))
		case reflect.Uint64:
			v.SetUint(1<<63 + uint64(n))
		case reflect.Uint16, reflect.Uint32:
			v.SetUint(uint64(n))
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(v.Index(0), where)
			fill(v.Index(1), where)
		case reflect.Struct:
			for i := range v.NumField() {
				if name := v.Type().Name() + "." + v.Type().Field(i).Name; !notKept[name] {
					fill(v.Field(i), name)
				}
			}
		default:
			t.Fatalf("%s: a %s, which this test can't fill", where, v.Kind())
		}
	}
	var rec Record
	fill(reflect.ValueOf(&rec).Elem(), "Record")
	got, err := decodeRecord(rec.encode())
	if err != nil || !reflect.DeepEqual(got, rec) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, rec)
	}
	if got, err := decodeRecord((&Record{}).encode()); err != nil || !reflect.DeepEqual(got, Record{}) {
		t.Errorf("an empty one: %v, %+v", err, got)
	}
}

func TestADamagedRecordIsRefused(t *testing.T) {
	rec := Record{Name: "web", Command: []string{"sleep", "3"}}
	data := rec.encode()
	data[3] ^= 1
	if _, err := decodeRecord(data); !errors.Is(err, sheet.ErrDamaged) {
		t.Errorf("%v, want it damaged", err)
	}
}
