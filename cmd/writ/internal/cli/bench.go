package cli

import "github.com/spf13/cobra"

func (e *env) benchCommand() *cobra.Command { return &cobra.Command{Use: "bench"} }
