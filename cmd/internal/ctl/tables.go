package ctl

import "context"

// Neighbour is a next hop of the TOE.
type Neighbour struct {
	Port    string `json:"port"`
	Address string `json:"address"`
	MAC     string `json:"mac,omitempty"` // absent where it is not known
	State   string `json:"state"`         // as ip neigh shows it
}

// Route is how the TOE's packets leave by a port.
type Route struct {
	Port        string `json:"port"`
	Destination string `json:"destination"`
	Via         string `json:"via,omitempty"` // the gateway; absent: the destinations are on the link
	Source      string `json:"source,omitempty"`
	MTU         int    `json:"mtu,omitempty"` // octets of IP packet; absent: the port's
	// Kind is "port"; "elsewhere" for what leaves by another interface or is this host's; "refused" for what
	// nobody sends; "kernel" where the kernel is asked for each connection, which for the destination "all"
	// means every one.
	Kind string `json:"kind"`
}

// Neighbours asks for next hops.
func (c *Client) Neighbours(ctx context.Context) (n []Neighbour, err error) {
	err = c.get(ctx, "/neighbours", nil, &n)
	return n, err
}

// Routes asks for routes.
func (c *Client) Routes(ctx context.Context) (r []Route, err error) {
	err = c.get(ctx, "/routes", nil, &r)
	return r, err
}
