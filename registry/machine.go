package registry

import "maps"

// EffectiveMetadata is a machine's metadata in force: what it says of itself,
// without what operators removed, with what they set; its host name is always
// there. Either argument may be nil; the result is the caller's.
func EffectiveMetadata(m *Machine, s *Settings) map[string]string {
	all := map[string]string{}
	maps.Copy(all, m.GetMetadata())
	for _, key := range s.GetMetadataRemoved() {
		delete(all, key)
	}
	maps.Copy(all, s.GetMetadata())
	all["hostname"] = m.GetHostname()
	return all
}
