/** Which exchanges an operator asked for: by service, status, error code, caller and request id. */
import type { AccessLine } from "./access-line.ts";

/** Undefined members select every exchange. */
export interface ExchangeFilter {
  readonly service?: string | undefined;
  readonly status?: StatusRange | undefined;
  /** An error code of the catalog. */
  readonly code?: string | undefined;
  readonly caller?: string | undefined;
  readonly requestId?: string | undefined;
}

/** Both ends are included. */
export interface StatusRange {
  readonly from: number;
  readonly to: number;
}

/** A status (`503`), or a class of them (`5xx`). */
export const STATUS_PATTERN = /^[1-5](?:\d\d|xx)$/i;

/** @param text matches STATUS_PATTERN. */
export function readStatusRange(text: string): StatusRange {
  if (/^\d+$/.test(text)) return { from: Number(text), to: Number(text) };
  const from = Number(text[0]) * 100;
  return { from, to: from + 99 };
}

export function isSelected(line: AccessLine, { service, status, code, caller, requestId }: ExchangeFilter): boolean {
  return (
    (service === undefined || line.service === service) &&
    (status === undefined || (line.status >= status.from && line.status <= status.to)) &&
    (code === undefined || line.outcome.endsWith(`:${code}`)) &&
    (caller === undefined || line.caller === caller) &&
    (requestId === undefined || line.requestId === requestId)
  );
}
