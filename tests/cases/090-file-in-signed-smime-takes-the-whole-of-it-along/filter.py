# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    for defect in part.defects:
        message.headers.add("X-Defect", f"{defect.name} ({defect.detail})")
    if part.extension == ".exe":
        message.headers.add("X-Dropped", f"{part.filename} ({part.view}, protected: {part.is_protected})")
        part.drop(warning=f"{part.filename} is gone")
