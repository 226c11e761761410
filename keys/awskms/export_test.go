package awskms

// JOSE is what is fuzzed.
var JOSE = jose
