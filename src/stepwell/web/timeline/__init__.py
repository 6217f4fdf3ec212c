"""A run's steps on an axis of time, as a template draws them. Pure: it is given what is recorded, the time, and what the address asks for.

timeline = timeline_of(run, steps, events, now, View.of(request.query_params.multi_items()))
"""

from stepwell.web.timeline.drawing import timeline_of
from stepwell.web.timeline.drawn import Timeline
from stepwell.web.timeline.view import View

__all__ = ["Timeline", "View", "timeline_of"]
