package dev_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets this binary be the curl of a machine that has none.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "curl" {
		if err := curl(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "curl:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// curl is as much of curl as the guide uses. What it does not know is an error.
func curl(args []string) error {
	method, target, headers, form, body, showHead := "", "", http.Header{}, []string{}, "", false
	for i := 0; i < len(args); i++ {
		value := func() string {
			i++
			if i == len(args) {
				return ""
			}
			return args[i]
		}
		switch args[i] {
		case "-s":
		case "-si":
			showHead = true
		case "-X":
			method = value()
		case "-H":
			name, text, _ := strings.Cut(value(), ": ")
			headers.Set(name, text)
		case "-d":
			body = value()
			form = append(form, body)
		case "--data-urlencode":
			name, text, _ := strings.Cut(value(), "=")
			form = append(form, name+"="+url.QueryEscape(text))
		default:
			if target != "" || strings.HasPrefix(args[i], "-") {
				return errors.New("unknown argument " + args[i])
			}
			target = args[i]
		}
	}
	if method == "" {
		method = http.MethodGet
	}
	if len(form) > 0 && method == http.MethodGet {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, target, strings.NewReader(strings.Join(form, "&"))) //nolint:noctx // a process of its own
	if err != nil {
		return err
	}
	if len(form) > 0 {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name := range headers {
		req.Header.Set(name, headers.Get(name))
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if showHead {
		fmt.Printf("%s %s\n", resp.Proto, resp.Status)
		_ = resp.Header.Write(os.Stdout)
		fmt.Println()
	}
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
