package runtime

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// userIDs is who a program runs as.
type userIDs struct {
	uid, gid int32
	groups   []int32
	home     string
}

// findUser looks a user up, and further groups, in the files that read gives.
// ranged says that a container's range of ids must have them.
func findUser(user string, groups []string, read func(file string) ([]byte, error), ranged bool) (userIDs, error) {
	passwd, err := read("/etc/passwd")
	if err != nil {
		return userIDs{}, err
	}
	group, err := read("/etc/group")
	if err != nil {
		return userIDs{}, err
	}
	ids, err := lookUp(user, passwd, group)
	if err == nil {
		err = ids.join(groups, group)
	}
	if err == nil && ranged {
		err = ids.mapped(user)
	}
	return ids, err
}

// lookUp finds user[:group] in the text of a passwd and a group file. A number
// needs no entry; a name does. Groups named in the group file come along unless
// a group is given.
func lookUp(spec string, passwd, group []byte) (userIDs, error) {
	name, groupName, hasGroup := strings.Cut(spec, ":")
	if name == "" {
		name = "0"
	}
	u := userIDs{home: "/"}
	uid, isNumber := numeric(name)
	u.uid = uid
	entry := find(passwd, 7, func(f []string) bool {
		return f[0] == name || isNumber && f[2] == strconv.Itoa(int(uid))
	})
	switch {
	case entry != nil:
		var ok1, ok2 bool
		u.uid, ok1 = numeric(entry[2])
		u.gid, ok2 = numeric(entry[3])
		if !ok1 || !ok2 {
			return u, fmt.Errorf("user %s: its line in the container's /etc/passwd has no ids", name)
		}
		if entry[5] != "" {
			u.home = entry[5]
		}
	case !isNumber && name != "root":
		return u, fmt.Errorf("user %s: not in the container's /etc/passwd; write its number instead", name)
	}
	if entry == nil && u.uid == 0 {
		u.home = "/root"
	}
	if hasGroup {
		gid, err := lookUpGroup(groupName, group)
		if err != nil {
			return u, err
		}
		u.gid, u.groups = gid, []int32{gid}
		return u, nil
	}
	// Its own group is among them: a file that refuses that group refuses the
	// user, then, even after it has changed its group (CVE-2022-36109).
	u.groups = append(u.groups, u.gid)
	if entry != nil {
		find(group, 4, func(f []string) bool {
			if gid, ok := numeric(f[2]); ok && gid != u.gid && slices.Contains(strings.Split(f[3], ","), entry[0]) && len(u.groups) < groupsMax {
				u.groups = append(u.groups, gid)
			}
			return false
		})
	}
	return u, nil
}

// lookUpGroup finds a group, by its name or number, in the text of a group file.
func lookUpGroup(name string, group []byte) (int32, error) {
	gid, isNumber := numeric(name)
	if isNumber {
		return gid, nil
	}
	g := find(group, 4, func(f []string) bool { return f[0] == name })
	if g == nil {
		return 0, fmt.Errorf("group %s: not in the container's /etc/group; write its number instead", name)
	}
	if gid, isNumber = numeric(g[2]); !isNumber {
		return 0, fmt.Errorf("group %s: its line in the container's /etc/group has no id", name)
	}
	return gid, nil
}

// join adds further groups.
func (u *userIDs) join(names []string, group []byte) error {
	for _, name := range names {
		gid, err := lookUpGroup(name, group)
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(u.groups, gid):
		case len(u.groups) == groupsMax:
			return fmt.Errorf("group %s: the user is in %d already, and there is no room for more", name, groupsMax)
		default:
			u.groups = append(u.groups, gid)
		}
	}
	return nil
}

// mapped says whether a container's range has ids for all of u.
func (u *userIDs) mapped(spec string) error {
	for _, id := range append([]int32{u.uid, u.gid}, u.groups...) {
		if id >= idsPerContainer {
			return fmt.Errorf("user %s: id %d: a container has ids 0 to %d; choose among those, or give up the user name-space: --userns=host",
				orRoot(spec), id, idsPerContainer-1)
		}
	}
	return nil
}

// find returns the fields of the first line, of at least n of them, that match
// accepts; nil when there is none.
func find(file []byte, n int, match func(fields []string) bool) []string {
	for _, line := range strings.Split(string(file), "\n") {
		if f := strings.Split(line, ":"); len(f) >= n && match(f) {
			return f
		}
	}
	return nil
}
