//go:build !linux

package main

func dropFilePages() {}
