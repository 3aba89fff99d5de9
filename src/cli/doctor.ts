/**
 * `byteproxy doctor`: finds problems and their fixes, of a running gateway or of one that does not start.
 * Invariant: the checks are those of GET /manage/diagnostics. Neither the output nor the bundle contains a secret, or the value
 * of a variable that may be one: each part is masked where it is made, and the bundle once more as a whole.
 */
import { type Command, Option } from "commander";
import { type Color, type Paint, paintFor } from "../colors.ts";
import type { Diagnostics } from "../diagnostics/diagnostics.ts";
import type { ServiceItem } from "../services/items.ts";
import type { SecretMask } from "../telemetry/redact.ts";
import { version } from "../version.ts";
import { CliFailure, type ExitCode } from "./cli-failure.ts";
import type { GatewayClient, NoGateway } from "./gateway-client.ts";
import { ABOUT_THE_GATEWAY, type CommonOptions, withGateway } from "./options.ts";
import { existsAlready, oneLine, printJson, printLine, printNote, refuseExisting, writeNewFile } from "./output.ts";

/** @param run handles the exit code of the command. */
export function addDoctorCommand(program: Command, run: (command: () => Promise<ExitCode>) => Promise<void>): void {
  withGateway(program.command("doctor"))
    .description("run all checks on the running gateway, or on what a start here would use; exit code 1 if one fails")
    .option("--all", "list the checks that passed, too")
    .option("--quiet", "print problems only, and nothing if there are none")
    .option("--bundle <file.json>", "also write what to send when you ask for help, without secrets, to a new file")
    .addOption(
      new Option("--offline", "contact no gateway: check what a start in this folder would use").conflicts("url"),
    )
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action((options: DoctorOptions) => run(() => doctor(options)));
}

const EXAMPLES = `
If no gateway responds, the checks examine what a start in this folder would use: configuration, address, DATA_DIR,
upstreams, credentials. Checks that need a running gateway are skipped and listed.

Examples:
  byteproxy doctor
  byteproxy doctor --json | jq '.checks[] | select(.status != "ok")'
  byteproxy doctor --bundle help.json`;

interface DoctorOptions extends CommonOptions {
  /** Path of the file to write. */
  readonly bundle?: string;
  readonly all?: boolean;
  readonly quiet?: boolean;
}

/** The results of the checks, and what they were run on. */
interface Examination {
  readonly diagnostics: Diagnostics;
  readonly services: readonly ServiceItem[];
  /** Undefined for a running gateway. */
  readonly notRunning?: { readonly reason: string; readonly leftOut: readonly string[] };
  /** Undefined when no gateway runs. */
  readonly client?: GatewayClient;
}

/** @throws CliFailure */
async function doctor(options: DoctorOptions): Promise<ExitCode> {
  // Before the checks: their results could not be written afterwards.
  if (options.bundle !== undefined) refuseExisting(options.bundle);
  const examination = await examine(options);
  const { diagnostics, notRunning } = examination;
  if (!options.json) printExamination(examination, options);
  if (options.bundle !== undefined) {
    await writeBundle(options.bundle, examination);
    printNote(`Wrote ${options.bundle}. It contains no known secrets; read it before you send it.`);
  }
  // At the end: a failure above is JSON of its own.
  if (options.json) printJson(notRunning === undefined ? diagnostics : { ...diagnostics, notRunning });
  return diagnostics.summary.fail > 0 ? 1 : 0;
}

/** The checks take five seconds at most: a gateway that is silent for this long hangs, and is diagnosed from outside, ms. */
const SILENCE_MS = 15_000;

const DIAGNOSTICS_MEMBERS = ["system", "environment", "authentication", "checks", "summary"] as const;

async function examine({ url, offline }: DoctorOptions): Promise<Examination> {
  if (offline === true) return examineFolder("no gateway was contacted (--offline)");
  const { NoGateway, openGatewayClient } = await import("./gateway-client.ts");
  let client: GatewayClient | undefined;
  try {
    client = openGatewayClient(url, SILENCE_MS);
    const diagnostics = await client.ask<Diagnostics>("GET", "/manage/diagnostics", { members: DIAGNOSTICS_MEMBERS });
    return { diagnostics, services: [], client };
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error;
    // The settings do not lead to a gateway: the check of the configuration reports why.
    if (client === undefined)
      return examineFolder(`no gateway could be contacted: ${withoutDot(error.lines.join("; "))}`);
    if (error instanceof NoGateway) return examineFolder(describeAbsence(client.url, error));
    throw error;
  }
}

async function examineFolder(reason: string): Promise<Examination> {
  const { diagnoseStart } = await import("../start/diagnose-start.ts");
  const { diagnostics, services, leftOut } = await diagnoseStart();
  return { diagnostics, services, notRunning: { reason, leftOut } };
}

function describeAbsence(url: string, { isRefused, lines }: NoGateway): string {
  return isRefused
    ? `no gateway is running at ${url}`
    : `no gateway responds at ${url}: ${withoutDot(lines.join(" "))}`;
}

/** For text that becomes part of a longer sentence. */
const withoutDot = (sentence: string) => sentence.replace(/\.$/, "");

const SHOWN_FIRST = ["fail", "warn", "ok"] as const;
const COLORS = { fail: "red", warn: "yellow", ok: "green" } as const;

/** Problems first. Passed checks are counted, and listed with `--all`. */
function printExamination(
  { diagnostics, notRunning }: Examination,
  { all = false, quiet = false }: DoctorOptions,
): void {
  const paint = paintFor(process.stdout);
  const { checks, summary } = diagnostics;
  const isClean = summary.fail + summary.warn === 0;
  if (quiet && isClean) return;
  if (notRunning !== undefined && !quiet) {
    printLine(`Attention: ${notRunning.reason}.`);
    printLine("These checks show what a start in this folder would use.");
    printLine("");
  }
  const shown = SHOWN_FIRST.flatMap((status) =>
    checks.filter((check) => check.status === status && (all || status !== "ok")),
  );
  const width = Math.max(0, ...shown.map(({ id }) => id.length));
  for (const { status, id, summary: words, evidence, fix } of shown) {
    printPainted(paint, COLORS[status], status.padEnd(4), `  ${id.padEnd(width)}  ${words}`);
    if (status === "ok") continue;
    for (const line of Object.entries(evidence).flatMap(evidenceLines)) printPainted(paint, "dim", line);
    if (fix !== null) printPainted(paint, "bold", `${INDENT}fix:`, ` ${fix}`);
  }
  if (quiet) return;
  if (shown.length > 0) printLine("");
  const hint = all || summary.ok === 0 ? "" : " (--all lists every check)";
  printLine(`${summary.ok} ok, ${summary.warn} warn, ${summary.fail} fail in ${summary.durationMs} ms${hint}`);
  if (notRunning !== undefined && notRunning.leftOut.length > 0) {
    printLine(`Skipped, because their requirements are missing: ${notRunning.leftOut.join(", ")}`);
  }
}

/** The text may come from elsewhere, and is made safe before it is colored. */
function printPainted(paint: Paint, color: Color, text: string, rest = ""): void {
  process.stdout.write(`${paint(color, oneLine(text))}${oneLine(rest)}\n`);
}

const INDENT = "      ";

/** Nothing for an empty value; one line for each text of a list, such as the problems of a configuration. */
function evidenceLines([name, value]: [name: string, value: unknown]): string[] {
  if (value === null || (Array.isArray(value) && value.length === 0)) return [];
  const isTexts = Array.isArray(value) && value.every((each) => typeof each === "string");
  if (isTexts) return [`${INDENT}${name}:`, ...value.map((each) => `${INDENT}  ${oneLine(each)}`)];
  return [`${INDENT}${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`];
}

/** The version of the bundle's structure: programs may read it. */
const BUNDLE_FORMAT = 1;

/** The number of latest changes in the bundle. */
const AUDIT_LIMIT = 20;

/** @throws CliFailure */
async function writeBundle(path: string, examination: Examination): Promise<void> {
  const { diagnostics, notRunning, client } = examination;
  const { environment, recentErrors, ...rest } = diagnostics;
  const { settings, ...files } = environment;
  const { version: running, commit, runtime, platform } = diagnostics.system;
  const bundle = {
    format: BUNDLE_FORMAT,
    createdAt: new Date().toISOString(),
    version: running,
    commit,
    runtime,
    platform,
    // The command's own version: the gateway may be another one, on another machine.
    doctor: version,
    gateway: notRunning === undefined ? { running: true } : { running: false, ...notRunning },
    diagnostics: { ...rest, environment: files },
    config: { file: environment.configFile, settings, services: await servicesOf(examination) },
    recentErrors,
    ...(client === undefined ? {} : await gatewayParts(client)),
  };
  const { maskTexts } = await import("../telemetry/redact.ts");
  const text = `${JSON.stringify(maskTexts(bundle, await createFolderMask()), null, 2)}\n`;
  if (!writeNewFile(path, text, 0o600)) throw existsAlready(path);
}

async function servicesOf({ services, client }: Examination): Promise<unknown> {
  return client === undefined ? services : readPart(client, "/manage/services", "services");
}

async function gatewayParts(client: GatewayClient) {
  return {
    status: await readPart(client, "/status"),
    audit: await readPart(client, `/manage/audit?limit=${AUDIT_LIMIT}`, "entries"),
  };
}

/** A part that cannot be read is replaced by the reason: the rest of the bundle is still useful. */
async function readPart(client: GatewayClient, path: string, member?: string): Promise<unknown> {
  try {
    const body = await client.ask("GET", path);
    return member === undefined ? body : (body as Readonly<Record<string, unknown>> | undefined)?.[member];
  } catch (error) {
    if (error instanceof CliFailure) return { unavailable: error.lines.join(" ") };
    throw error;
  }
}

/** Masks every secret that this folder's configuration contains. The gateway has masked its responses; this is a second safeguard. */
async function createFolderMask(): Promise<SecretMask> {
  const [{ readConfig }, { secretsOfService }, { createSecretMask }, { maskIssuedKeys }] = await Promise.all([
    import("../config/load-config.ts"),
    import("../config/service-secrets.ts"),
    import("../telemetry/redact.ts"),
    import("../callers/issued-key.ts"),
  ]);
  const { config } = await readConfig();
  const keys = [config.proxyPlane.key, config.managementPlane.key].flatMap((key) => key?.reveal() ?? []);
  const mask = createSecretMask([...keys, ...[...config.services.values()].flatMap(secretsOfService)]);
  return (text) => maskIssuedKeys(mask(text));
}
