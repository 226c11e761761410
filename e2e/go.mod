module github.com/writbroker/writ/e2e

go 1.26.0
