"""Makes widgets. It knows only the newest version, whichever one people write."""

from __future__ import annotations

from example_widgets.gen import Widget
from example_widgets.gen.v1beta1 import WidgetPhase, WidgetStatus
from miren import Context, Controller


class WidgetMaker(Controller[Widget]):
    async def reconcile(self, ctx: Context[Widget], widget: Widget) -> None:
        used = sum(slot.content != "" for slot in widget.spec.slots)
        ctx.status = WidgetStatus(phase=WidgetPhase.MADE, used=used)
        ctx.ready("Made")
