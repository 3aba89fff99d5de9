/**
 * `byteproxy keys`: create, list, revoke and rotate the keys that callers present.
 * Invariant: the command that creates a key prints it on stdout. It appears nowhere else.
 */
import { type Command, Option } from "commander";
import type { ListedKey } from "../callers/issued-keys.ts";
import type { TokenBudget } from "../config/token-budget.ts";
import type { GatewayClient } from "./gateway-client.ts";
import type { KeyBackend, KeyList, NewKey } from "./offline-stores.ts";
import {
  ABOUT_THE_GATEWAY,
  type CommonOptions,
  collect,
  collectPermissions,
  type Rate,
  readBudget,
  readCount,
  readDate,
  readDuration,
  readRate,
  withGateway,
  withOffline,
} from "./options.ts";
import { printJson, printLine, printNote, printTable } from "./output.ts";

export function addKeysCommand(program: Command): void {
  const keys = program
    .command("keys")
    .description("manage the keys that callers present: create, list, revoke, rotate")
    .addHelpText(
      "after",
      "\nExamples:\n  KEY=$(byteproxy keys create --name ci --permissions 'github:read')\n  byteproxy keys list",
    )
    .addHelpText("afterAll", ABOUT_THE_GATEWAY);

  addCreateCommand(keys);

  withOffline(withGateway(keys.command("list")))
    .description("list all issued keys: permissions, expiry and last use; never the keys themselves")
    .addHelpText("after", "\nExamples:\n  byteproxy keys list")
    .action(listKeys);

  withOffline(withGateway(keys.command("revoke")))
    .description("revoke a key: the next request with it is refused")
    .argument("<id>", "the key's id, as list shows it")
    .addHelpText("after", "\nExamples:\n  byteproxy keys revoke <id>")
    .action(revokeKey);

  withOffline(withGateway(keys.command("rotate")))
    .description("replace a key by a new one, and print the new key; it cannot be shown again")
    .argument("<id>", "the key's id, as list shows it")
    .addOption(new Option("--grace <seconds>", "time for which the old key stays valid too").argParser(readCount))
    .addHelpText(
      "after",
      "\nExamples:\n  KEY=$(byteproxy keys rotate <id> --grace 3600)      the old key stays valid for an hour",
    )
    .action(rotateKey);
}

function addCreateCommand(keys: Command): void {
  const create = keys
    .command("create")
    .description("create a key and print it; it cannot be shown again")
    .requiredOption("--name <name>", "a name for people: who uses the key")
    .addOption(
      new Option(
        "--permissions <list>",
        "what the key allows: <service|*>:<read|write|*|METHOD>[:<path>], or manage:<read|services|keys|*>; separated by commas, or the option repeated",
      )
        .argParser(collectPermissions)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option("--expires-at <date>", "when the key expires: 2027-01-31 (UTC), or RFC 3339")
        .argParser(readDate)
        .conflicts("expiresIn"),
    )
    .addOption(new Option("--expires-in <duration>", "the key's lifetime: 12h, 30d").argParser(readDuration))
    .addOption(
      new Option("--rate-limit <rate>", "the key's own rate limit, requests/duration: 100/60s").argParser(readRate),
    )
    .addOption(
      new Option("--allow-ip <address>", "allow only clients from this address or CIDR; may be repeated").argParser(
        collect,
      ),
    )
    .addOption(
      new Option(
        "--budget <budget>",
        "tokens of language models, tokens/hour, tokens/day or tokens/month: 100000/day",
      ).argParser(readBudget),
    )
    .addOption(
      new Option("--model <pattern>", "allow only this model, such as gpt-4o*; may be repeated").argParser(collect),
    )
    .addOption(
      new Option(
        "--client-cert <fingerprint|name>",
        "the key is valid only with this client certificate: its SHA-256 fingerprint, or one of its URI or DNS names",
      ),
    )
    .addHelpText("after", CREATE_EXAMPLES);
  withOffline(withGateway(create)).action(createKey);
}

const CREATE_EXAMPLES = `
Only the key is on stdout, so that a script can read it:
  KEY=$(byteproxy keys create --name ci --permissions 'github:read')

Examples:
  byteproxy keys create --name bot --permissions 'discord:*' --rate-limit 100/60s
  byteproxy keys create --name ci --permissions 'github:GET:/repos/acme/**,npm:read' --expires-in 30d`;

interface CreateKeyOptions extends CommonOptions {
  readonly name: string;
  readonly permissions: readonly string[];
  /** RFC 3339. */
  readonly expiresAt?: string;
  /** ms */
  readonly expiresIn?: number;
  readonly rateLimit?: Rate;
  readonly allowIp?: readonly string[];
  readonly clientCert?: string;
  readonly budget?: TokenBudget;
  readonly model?: readonly string[];
}

async function createKey(options: CreateKeyOptions): Promise<void> {
  const { name, permissions, expiresIn, rateLimit, allowIp: allowIps, clientCert, budget, model: models } = options;
  const expiresAt = expiresIn === undefined ? options.expiresAt : new Date(Date.now() + expiresIn).toISOString();
  const wanted = withoutUndefined({ name, permissions, expiresAt, rateLimit, allowIps, clientCert, budget, models });
  printNewKey(await withKeyBackend(options, (backend) => backend.create(wanted)), options);
}

interface RotateKeyOptions extends CommonOptions {
  /** s */
  readonly grace?: number;
}

async function rotateKey(id: string, options: RotateKeyOptions): Promise<void> {
  const wanted = withoutUndefined({ graceSeconds: options.grace });
  printNewKey(await withKeyBackend(options, (backend) => backend.rotate(id, wanted)), options);
}

async function listKeys(options: CommonOptions): Promise<void> {
  const list = await withKeyBackend(options, (backend) => backend.list());
  if (options.json) return printJson(list);
  printTable(["ID", "NAME", "PERMISSIONS", "STATE", "EXPIRES", "LAST USED", "USES"], list.keys.map(rowOf));
}

function rowOf({ id, name, permissions, state, expiresAt, lastUsedAt, uses }: ListedKey): string[] {
  return [id, name, permissions.join(" "), state, expiresAt ?? "never", lastUsedAt ?? "never", String(uses)];
}

async function revokeKey(id: string, options: CommonOptions): Promise<void> {
  await withKeyBackend(options, (backend) => backend.revoke(id));
  if (options.json) return printJson({ id, revoked: true });
  printLine(`Revoked ${id}`);
}

/** Only the key is on stdout, so that `KEY=$(…)` reads nothing else. */
function printNewKey(item: NewKey, { json }: CommonOptions): void {
  if (json) return printJson(item);
  const { id, name, key, permissions, expiresAt, warnings = [] } = item;
  printLine(key);
  for (const warning of warnings) printNote(`Warning: ${warning}`);
  const expiry = expiresAt ? `expires at ${expiresAt}` : "does not expire";
  printNote(
    `The key ${name} (${id}) allows ${permissions.join(" ")} and ${expiry}. Store it now: it cannot be shown again.`,
  );
}

/** Options that were not set are not in the request. */
function withoutUndefined(wanted: object): object {
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
}

/** @throws CliFailure */
async function withKeyBackend<T>(options: CommonOptions, work: (backend: KeyBackend) => Promise<T>): Promise<T> {
  // Loaded only here: reading the settings takes longer than all the rest of `--help`.
  const { withBackend } = await import("./gateway-client.ts");
  const offline = async () => (await import("./offline-stores.ts")).openOfflineKeys();
  return withBackend(options, { online: openOnline, offline }, work);
}

const pathOf = (id: string) => `/manage/keys/${encodeURIComponent(id)}`;

const NEW_KEY_MEMBERS = ["id", "name", "key", "permissions"] as const;

function openOnline(client: GatewayClient): KeyBackend {
  return {
    list: () => client.ask<KeyList>("GET", "/manage/keys", { members: ["keys", "count"] }),
    create: (body) => client.ask<NewKey>("POST", "/manage/keys", { body, members: NEW_KEY_MEMBERS }),
    rotate: (id, body) => client.ask<NewKey>("POST", `${pathOf(id)}/rotate`, { body, members: NEW_KEY_MEMBERS }),
    async revoke(id) {
      await client.ask("DELETE", pathOf(id));
    },
    async close() {},
  };
}
