# SPDX-License-Identifier: GPL-3.0-or-later
"""The multiplexor: keeps a pool of workers and hands requests to them (protocol.md, Multiplexor).

One process, one thread, trio. `pool/` decides, `process/` and `sockets/` do, `supervisor`
ties them together; `ctl` is the control command's client.
"""
