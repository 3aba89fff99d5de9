/**
 * The log on a terminal: one aligned line for each exchange; other lines are formatted by pino-pretty.
 * Invariant: text from a client has no control characters, so that it cannot move the cursor or change the terminal.
 */
import type { Color, Paint } from "../colors.ts";

/** What an access line in JSON contains, of what is shown. */
export interface ShownExchange {
  readonly time: number;
  readonly service: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly durationUs: number;
  readonly outcome: string;
}

const METHOD_WIDTH = 7;
const SERVICE_WIDTH = 12;
const PATH_WIDTH = 44;

/** The access line, which `logger.ts` ends with this. */
const ACCESS_END = '"msg":"request"}';

/** Undefined for a line that is no access line. */
export function readExchange(line: string): ShownExchange | undefined {
  return line.endsWith(ACCESS_END) ? (JSON.parse(line) as ShownExchange) : undefined;
}

/** `18:47:02  200  GET      github        /users/octocat                                12 ms` */
export function exchangeLine(exchange: ShownExchange, paint: Paint): string {
  const { time, service, method, status, durationUs, outcome } = exchange;
  const code = /^(?:refused|failed):(.*)$/.exec(outcome)?.[1] ?? (outcome === "relayed" ? "" : outcome);
  const parts = [
    paint("dim", clock(time)),
    paint(colorOf(status), String(status)),
    method.padEnd(METHOD_WIDTH),
    paint("bold", (service === "" ? "-" : service).padEnd(SERVICE_WIDTH)),
    withoutControls(shownPath(exchange)).padEnd(PATH_WIDTH),
    duration(durationUs).padStart(8),
    ...(code === "" ? [] : [paint("yellow", code)]),
  ];
  return parts.join("  ");
}

/** Without the prefix that the column of the service repeats. */
function shownPath({ service, path }: ShownExchange): string {
  const prefix = `/proxy/${service}`;
  if (service === "" || !path.startsWith(prefix)) return path;
  const rest = path.slice(prefix.length);
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** Local time. */
function clock(time: number): string {
  const date = new Date(time);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

function duration(us: number): string {
  if (us < 10_000) return `${(us / 1_000).toFixed(1)} ms`;
  return us < 10_000_000 ? `${Math.round(us / 1_000)} ms` : `${(us / 1_000_000).toFixed(1)} s`;
}

function colorOf(status: number): Color {
  if (status < 300) return "green";
  if (status < 400) return "cyan";
  return status < 500 ? "yellow" : "red";
}

/** The control characters of ASCII and Latin 1. */
const withoutControls = (text: string) => text.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
