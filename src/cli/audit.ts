/** `byteproxy audit`: which caller changed what, newest first, from GET /manage/audit. */
import { isDeepStrictEqual } from "node:util";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { AuditEntry } from "../callers/audit.ts";
import { isObject } from "../is-object.ts";
import { ABOUT_THE_GATEWAY, type CommonOptions, withGateway } from "./options.ts";
import { printJson, printLine, printTable } from "./output.ts";

export function addAuditCommand(program: Command): void {
  withGateway(program.command("audit"))
    .description("list the changes of services, keys and limits, newest first: when, by which caller, what")
    .addOption(new Option("--limit <count>", "number of entries, 1 to 1000; default: 100").argParser(readLimit))
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action(listAudit);
}

const EXAMPLES = `
The table names the members that a change touched. With --json, each entry has the whole state before and after.

Examples:
  byteproxy audit --limit 10
  byteproxy audit --json | jq '.entries[] | select(.subject == "github")'`;

/** @throws InvalidArgumentError */
function readLimit(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= 1_000) return Number(text);
  throw new InvalidArgumentError("Allowed: a number from 1 to 1000.");
}

interface AuditOptions extends CommonOptions {
  readonly limit?: number;
}

interface AuditList {
  readonly entries: readonly AuditEntry[];
  readonly count: number;
}

async function listAudit({ url, json, limit }: AuditOptions): Promise<void> {
  const { openGatewayClient } = await import("./gateway-client.ts");
  const path = limit === undefined ? "/manage/audit" : `/manage/audit?limit=${limit}`;
  const list = await openGatewayClient(url).ask<AuditList>("GET", path, { members: ["entries", "count"] });
  if (json) return printJson(list);
  if (list.count === 0) return printLine("There are no changes yet.");
  printTable(["TIME", "CALLER", "ADDRESS", "ACTION", "SUBJECT", "MEMBERS"], list.entries.map(rowOf));
}

function rowOf({ time, caller, address, action, subject, before, after }: AuditEntry): string[] {
  return [time, caller, address || "-", action, subject ?? "-", changedMembers(before, after).join(" ") || "-"];
}

function changedMembers(before: unknown, after: unknown): string[] {
  const [old, next] = [before, after].map((state) => (isObject(state) ? state : {})) as [object, object];
  const names = [...new Set([...Object.keys(old), ...Object.keys(next)])];
  // An empty list says as much as no member: a reload has one for each kind of change.
  const valueIn = (state: object, name: string) => {
    const value = (state as Readonly<Record<string, unknown>>)[name];
    return Array.isArray(value) && value.length === 0 ? undefined : value;
  };
  return names.filter((name) => !isDeepStrictEqual(valueIn(old, name), valueIn(next, name)));
}
