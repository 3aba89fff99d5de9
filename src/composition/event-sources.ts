/** What the parts of a gateway report to the readers of `/manage/events`, other than exchanges. */
import type { AuditEntry } from "../callers/audit.ts";
import type { QuotaEvent } from "../data-plane/quota/credential-accounts.ts";
import type { Pressure } from "../pressure/monitor.ts";
import type { EventFeed } from "../telemetry/event-feed.ts";

export interface EventSources {
  readonly change: (entry: AuditEntry) => void;
  readonly pressure: (pressure: Pressure | undefined) => void;
  readonly quota: (event: QuotaEvent) => void;
}

export function createEventSources(events: Pick<EventFeed, "hasReaders" | "notice">): EventSources {
  return {
    change: (entry) => events.notice("change", entry, serviceIn(entry)),
    pressure: (pressure) =>
      events.notice("pressure", pressure === undefined ? { state: "ends" } : { state: "begins", ...pressure }),
    quota({ service, state, until }) {
      if (!events.hasReaders) return;
      const time = until === undefined ? {} : { until: new Date(until).toISOString() };
      events.notice("quota", { service, state, ...time }, service);
    },
  };
}

/** The service that a change is about; undefined for a change of keys or of the whole configuration. */
function serviceIn({ action, subject }: AuditEntry): string | undefined {
  return action.startsWith("key.") ? undefined : subject;
}
