// Package arch holds the tree of packages and the direction of its imports. It
// has no code of its own: its test lists the module's packages and fails on an
// import that the tree does not allow, and on a package that the tree does not
// know. A new package is entered in tree_test.go, which is read with it.
package arch
