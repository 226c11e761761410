package httpapi

import "net/http"

// WriteError puts any error on the wire, as every handler does.
func (a *API) WriteError(w http.ResponseWriter, r *http.Request, err error) { a.writeError(w, r, err) }

// ParseForm reads the parameters of /token.
func ParseForm(w http.ResponseWriter, r *http.Request) (bool, error) {
	f, err := form(w, r)
	if err != nil {
		return false, err
	}
	_, err = exchangeRequest(f)
	return err == nil, err
}
