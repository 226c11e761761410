package mutants

// audit breaks what an acknowledged record promises.
func audit() []Mutant {
	return []Mutant{
		{
			Name: "audit: acknowledged before it is synced", File: "audit/writer.go",
			Old:      "\tif err := w.file.Sync(); err != nil {\n\t\treturn fmt.Errorf(\"syncing audit segment: %w\", err)\n\t}\n",
			New:      "",
			Packages: []string{"./audit"}, Run: "^TestNothingAcknowledgedIsLostInACrash$",
		},
	}
}
