/** `byteproxy keys`: its words and its help. What they do is in `keys-actions.ts`, loaded when one of them runs. */
import { type Command, Option } from "commander";
import { ABOUT_THE_GATEWAY, withGateway, withOffline } from "./common-options.ts";
import type { CreateKeyOptions, RotateKeyOptions } from "./keys-actions.ts";
import { collect, collectPermissions, readCount, readDate, readDuration, readRate } from "./option-values.ts";
import type { CommonOptions } from "./services-actions.ts";

const actions = () => import("./keys-actions.ts");

export function addKeysCommand(program: Command): void {
  const keys = program
    .command("keys")
    .description("the keys that callers present: create, list, revoke, rotate")
    .addHelpText("afterAll", ABOUT_THE_GATEWAY);

  addCreateCommand(keys);

  withOffline(withGateway(keys.command("list")))
    .description(
      "all keys that were created: what they open, until when, when they were used; never the keys themselves",
    )
    .action(async (options: CommonOptions) => (await actions()).listKeys(options));

  withOffline(withGateway(keys.command("revoke")))
    .description("end a key: the next request with it is refused")
    .argument("<id>", "as list shows it")
    .action(async (id: string, options: CommonOptions) => (await actions()).revokeKey(id, options));

  withOffline(withGateway(keys.command("rotate")))
    .description("another key in the place of one; prints it, this once")
    .argument("<id>", "as list shows it")
    .addOption(
      new Option("--grace <seconds>", "the old key is taken for so long beside the new one").argParser(readCount),
    )
    .action(async (id: string, options: RotateKeyOptions) => (await actions()).rotateKey(id, options));
}

function addCreateCommand(keys: Command): void {
  const create = keys
    .command("create")
    .description("create a key and print it, this once")
    .requiredOption("--name <name>", "for people: whose it is")
    .addOption(
      new Option(
        "--permissions <list>",
        "what it opens, <service|*>:<read|write|*|METHOD>[:<path>], or manage:<read|services|keys|*>; with commas between, or repeated",
      )
        .argParser(collectPermissions)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option("--expires-at <date>", "when it ends: 2027-01-31 (UTC), or RFC 3339")
        .argParser(readDate)
        .conflicts("expiresIn"),
    )
    .addOption(new Option("--expires-in <duration>", "when it ends, from now: 12h, 30d").argParser(readDuration))
    .addOption(new Option("--rate-limit <rate>", "its own limit, requests/duration: 100/60s").argParser(readRate))
    .addOption(
      new Option("--allow-ip <address>", "where it may come from, an address or CIDR; may be repeated").argParser(
        collect,
      ),
    )
    .addHelpText("after", CREATE_EXAMPLES);
  withOffline(withGateway(create)).action(async (options: CreateKeyOptions) => (await actions()).createKey(options));
}

const CREATE_EXAMPLES = `
The key alone is on stdout, so that a script can take it:
  KEY=$(byteproxy keys create --name ci --permissions 'github:read')

Examples:
  byteproxy keys create --name bot --permissions 'discord:*' --rate-limit 100/60s
  byteproxy keys create --name ci --permissions 'github:GET:/repos/acme/**,npm:read' --expires-in 30d`;
