package journal

// Replace replaces the file, as Run does when it has grown.
func (j *Journal) Replace() error { return j.replace() }
