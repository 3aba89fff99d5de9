/**
 * The requests that a gateway recorded, and how `byteproxy logs` prints them.
 * Invariant: the oldest is first; text from a client cannot move the cursor of a terminal.
 */
import { paintFor } from "../colors.ts";
import { exchangeLine, type ShownExchange } from "../telemetry/terminal-lines.ts";
import type { GatewayClient } from "./gateway-client.ts";
import type { CommonOptions } from "./options.ts";
import { oneLine } from "./output.ts";

export interface LogsOptions extends CommonOptions {
  readonly follow?: boolean;
  readonly service?: string;
  readonly status?: string;
  readonly limit: number;
}

/** A request as the gateway shows it: more than is printed on a terminal. */
export interface RecordedRequest extends ShownExchange {
  readonly requestId: string;
}

/** The oldest first. @throws CliFailure */
export async function listRequests(
  client: GatewayClient,
  options: Pick<LogsOptions, "service" | "status">,
  limit: number,
): Promise<readonly RecordedRequest[]> {
  const { service, status } = options;
  const path = `/manage/requests${queryOf({ service, status, limit: String(limit) })}`;
  const { requests } = await client.ask<{ requests: readonly RecordedRequest[] }>("GET", path, {
    members: ["requests"],
  });
  return requests.toReversed();
}

interface Filters {
  readonly service: string | undefined;
  readonly status: string | undefined;
  readonly limit?: string;
}

/** `?service=github&status=5xx`; empty without filters. */
export function queryOf({ service, status, limit }: Filters): string {
  const given = Object.entries({ service, status, limit }).filter((pair): pair is [string, string] => {
    return pair[1] !== undefined;
  });
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

/** Formats a request as a line: aligned for people, or JSON. */
export function createLines({ json }: Pick<LogsOptions, "json">): (request: RecordedRequest) => string {
  const paint = paintFor(process.stdout);
  if (json === true) return (request) => `${JSON.stringify(request)}\n`;
  return (request) => {
    const { service, method, path, outcome } = request;
    const shown = { ...request, service: oneLine(service), method: oneLine(method), outcome: oneLine(outcome), path };
    return `${exchangeLine(shown, paint)}\n`;
  };
}
