package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
)

const (
	maxBody       = 64 << 10
	maxParameters = 64
)

// repeatable are the parameters that RFC 8693 section 2.1 lets a request repeat.
var repeatable = map[string]bool{wire.ParamResource: true, wire.ParamAudience: true}

// form reads an application/x-www-form-urlencoded body: parameters without a value count as
// left out, and a repeated one is refused (RFC 6749 section 3.2). The query is not read: a
// token in a URL would end up in logs.
func form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if err := mediaType(r, wire.TypeForm); err != nil {
		return nil, err
	}
	if r.URL.RawQuery != "" {
		return nil, fmt.Errorf("%w: parameters belong in the body, not in the query", broker.ErrRequest)
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if strings.Count(body, "&") >= maxParameters {
		return nil, fmt.Errorf("%w: more than %d parameters", broker.ErrRequest, maxParameters)
	}
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, fmt.Errorf("%w: the form is malformed", broker.ErrRequest)
	}
	for name, list := range values {
		if len(list) > 1 && !repeatable[name] {
			return nil, fmt.Errorf("%w: parameter %q is repeated", broker.ErrRequest, name)
		}
	}
	return values, nil
}

// usualBody is room for nearly every request. No more than that is made before the bytes are
// there: what a sender announces costs it nothing.
const usualBody = 4 << 10

func readBody(w http.ResponseWriter, r *http.Request) (string, error) {
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), usualBody)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return "", errTooLarge
	case err != nil:
		return "", fmt.Errorf("%w: the body could not be read", broker.ErrRequest)
	}
	return body.String(), nil
}

func mediaType(r *http.Request, want string) error {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || got != want {
		return fmt.Errorf("%w: send %s", errMediaType, want)
	}
	return nil
}

// decode reads a JSON body strictly: an unknown member may be a misspelt safety switch.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if err := mediaType(r, wire.TypeJSON); err != nil {
		return err
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("it goes on after its end")
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLarge
	}
	return fmt.Errorf("%w: the JSON body is malformed: %w", broker.ErrRequest, err)
}

// values gives the non-empty ones of a repeatable parameter.
func values(f url.Values, name string) []string {
	var out []string
	for _, v := range f[name] {
		if v != "" {
			out = append(out, v)
		}
	}
	return out
}

// bearer takes the token from the Authorization header: from one, of scheme Bearer.
func bearer(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) == 0:
		return "", nil
	case len(headers) > 1:
		return "", fmt.Errorf("%w: more than one Authorization header", broker.ErrRequest)
	}
	scheme, tok, ok := strings.Cut(headers[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || tok == "" || strings.ContainsAny(tok, " ,") {
		return "", fmt.Errorf("%w: the Authorization header is not of the form Bearer <token>", broker.ErrUnauthorized)
	}
	return tok, nil
}
