# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Response


def filter_end(message: Message) -> Response:
    return Response.tempfail("come back later", code=450, dsn="4.2.1")
