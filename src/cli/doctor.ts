/**
 * `byteproxy doctor`: what is wrong, and the mend, of a gateway that runs, or of one that does not start.
 * Invariant: the checks are those of GET /manage/diagnostics; and what is printed or written holds no secret.
 */
import type { Diagnostics } from "../diagnostics/diagnostics.ts";
import type { ServiceItem } from "../registry/service-items.ts";
import { checkAtRest, type DiagnoseAtRest } from "./checks-at-rest.ts";
import type { ExitCode } from "./cli-failure.ts";
import { CliFailure } from "./cli-failure.ts";
import type { DeskOptions } from "./desk.ts";
import { writeBundle } from "./doctor-bundle.ts";
import { answerOf, type GatewayClient, NoGateway, openGatewayClient } from "./gateway-client.ts";
import { plain, remark, say, sayJson } from "./output.ts";
import { refuseExisting } from "./write-new.ts";

export interface DoctorOptions extends DeskOptions {
  readonly json?: boolean;
  /** Path of the file to write. */
  readonly bundle?: string;
}

/** What was looked at. */
export interface Examination {
  readonly diagnostics: Diagnostics;
  readonly services: readonly ServiceItem[];
  /** Undefined where it runs. */
  readonly notRunning?: { readonly reason: string; readonly leftOut: readonly string[] };
  /** The one that was asked. */
  readonly client?: GatewayClient;
}

/** @throws CliFailure */
export async function doctor(options: DoctorOptions, diagnose: DiagnoseAtRest): Promise<ExitCode> {
  // Nobody waits for checks whose outcome cannot be written then.
  if (options.bundle !== undefined) refuseExisting(options.bundle);
  const examination = await examine(options, diagnose);
  const { diagnostics, notRunning } = examination;
  if (options.json) sayJson(notRunning === undefined ? diagnostics : { ...diagnostics, notRunning });
  else tell(examination);
  if (options.bundle !== undefined) {
    await writeBundle(options.bundle, examination);
    remark(`${options.bundle} has it all, without secrets: read it before you send it.`);
  }
  return diagnostics.summary.fail > 0 ? 1 : 0;
}

/** The checks take five seconds at most: a gateway that says nothing for so long hangs, and is looked at from outside, ms. */
const SILENCE_MS = 15_000;

async function examine({ url, offline }: DoctorOptions, diagnose: DiagnoseAtRest): Promise<Examination> {
  const atRest = async (reason: string): Promise<Examination> => {
    const { diagnostics, services, leftOut } = await checkAtRest(diagnose);
    return { diagnostics, services, notRunning: { reason, leftOut } };
  };
  if (offline === true) return atRest("--offline: no gateway was asked");
  let client: GatewayClient | undefined;
  try {
    client = openGatewayClient(url, SILENCE_MS);
    const answer = await client.ask("GET", "/manage/diagnostics");
    const diagnostics = answerOf<Diagnostics>(answer, "system", "environment", "authentication", "checks", "summary");
    return { diagnostics, services: [], client };
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error;
    // Without an address, or with a key that is none: a start says the same, and so does the check of the configuration.
    if (client !== undefined && !(error instanceof NoGateway)) throw error;
    return atRest(client === undefined ? unasked(error) : absent(client.url, error as NoGateway));
  }
}

function absent(url: string, { isRefused, lines }: NoGateway): string {
  return isRefused ? `no gateway is running at ${url}` : `no gateway answers at ${url}: ${withoutDot(lines.join(" "))}`;
}

/** It goes on behind it. */
const withoutDot = (sentence: string) => sentence.replace(/\.$/, "");

const unasked = ({ lines }: CliFailure) => `no gateway could be asked: ${withoutDot(lines.join("; "))}`;

function tell({ diagnostics, notRunning }: Examination): void {
  if (notRunning !== undefined) {
    say(`Attention: ${notRunning.reason}.`);
    say("What follows is what a start in this folder would meet.");
    say("");
  }
  const { checks, summary } = diagnostics;
  const width = Math.max(0, ...checks.map(({ id }) => id.length));
  for (const { status, id, summary: words, evidence, fix } of checks) {
    say(`${status.padEnd(4)}  ${id.padEnd(width)}  ${words}`);
    if (status === "ok") continue;
    for (const [name, value] of Object.entries(evidence)) for (const line of evidenceLines(name, value)) say(line);
    if (fix !== null) say(`${INDENT}mend: ${fix}`);
  }
  say("");
  say(`${summary.ok} ok, ${summary.warn} warn, ${summary.fail} fail in ${summary.durationMs} ms`);
  if (notRunning !== undefined && notRunning.leftOut.length > 0) {
    say(`Left out, because they need what is not there: ${notRunning.leftOut.join(", ")}`);
  }
}

const INDENT = "      ";

/** Nothing of what is empty; a list of sentences, such as the problems of a configuration, is a line each. */
function evidenceLines(name: string, value: unknown): string[] {
  if (value === null || (Array.isArray(value) && value.length === 0)) return [];
  const isSentences = Array.isArray(value) && value.every((each) => typeof each === "string");
  if (isSentences) return [`${INDENT}${name}:`, ...value.map((each) => `${INDENT}  ${plain(each)}`)];
  return [`${INDENT}${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`];
}
