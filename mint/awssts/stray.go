package awssts

// strays is a set of the ways in which an IAM pattern takes a path that no scope can name:
// one with a segment that is empty, "." or "..", in the middle or at the end.
type strays uint16

// The bits of one position: nothing, "." and "..". They stand four times: in the middle, at
// the end, and each of them as the path's first segment, before which no separator stands.
const (
	strayEmpty strays = 1 << iota
	strayDot
	strayDots
	strayBits = 3

	anyStray   = strayEmpty | strayDot | strayDots
	everyStray = anyStray | anyStray<<strayBits
)

const (
	inMiddle = 0
	atEnd    = strayBits
	first    = 2 * strayBits
)

// strays are those that p's pattern takes with as many segments as p has, and in a tail.
func (p pattern) strays() strays {
	var all strays
	for i, s := range p.segments {
		if !s.wild {
			continue
		}
		position := inMiddle
		if i == len(p.segments)-1 && !p.tail {
			position = atEnd
		}
		if i == 0 {
			position += first
		}
		all |= s.strays() << position
	}
	if p.tail {
		all |= everyStray
		if len(p.segments) == 0 {
			all |= everyStray << first
		}
	}
	return all
}

func (s segment) strays() strays {
	switch s.text {
	case "":
		return anyStray
	case ".":
		return strayDot | strayDots
	case "..":
		return strayDots
	}
	return 0
}

// texts are the IAM patterns that match those strays, in every path of the family: none of
// them is ever granted.
func (x strays) texts(f family) []string {
	var all []string
	for position := range 4 {
		for i, name := range []string{"", ".", ".."} {
			if x&(1<<(position*strayBits+i)) == 0 {
				continue
			}
			text := f.separator + name
			if position*strayBits >= first {
				text = name
			} else {
				text = "*" + text
			}
			if position*strayBits%first == inMiddle {
				text += f.separator + "*"
			}
			all = append(all, f.root+text+f.suffix)
		}
	}
	return all
}
