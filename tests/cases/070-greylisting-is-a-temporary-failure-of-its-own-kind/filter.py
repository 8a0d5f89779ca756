# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Response


def filter_begin(message: Message) -> Response:
    return Response.greylist("Not known here yet, please try again in 5 minutes")
