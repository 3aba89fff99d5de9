/** `byteproxy reload`: makes a running gateway read its configuration again, by POST /manage/reload. */
import type { Command } from "commander";
import { ABOUT_THE_GATEWAY, type CommonOptions, withGateway } from "./options.ts";
import { printJson, printLine, printNote } from "./output.ts";

export function addReloadCommand(program: Command): void {
  withGateway(program.command("reload"))
    .description("make a running gateway read its services file, env files and token files again")
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action(reload);
}

const EXAMPLES = `
If the new configuration is not valid, the gateway keeps the old one, and the exit code is 2.

Examples:
  byteproxy check && byteproxy reload`;

interface Changes {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  /** Names of variables. */
  readonly needsRestart: readonly string[];
  readonly warnings: readonly string[];
}

const MEMBERS = ["added", "changed", "removed", "needsRestart", "warnings"] as const;

async function reload({ url, json }: CommonOptions): Promise<void> {
  const { openGatewayClient } = await import("./gateway-client.ts");
  const changes = await openGatewayClient(url).ask<Changes>("POST", "/manage/reload", { members: MEMBERS });
  if (json) return printJson(changes);
  for (const warning of changes.warnings) printNote(`Warning: ${warning}`);
  const parts = (["added", "changed", "removed"] as const)
    .filter((kind) => changes[kind].length > 0)
    .map((kind) => `${kind} ${changes[kind].join(", ")}`);
  printLine(`The configuration was reloaded: ${parts.join("; ") || "no service changed"}.`);
  if (changes.needsRestart.length > 0) {
    printLine(`Restart the gateway to apply ${changes.needsRestart.join(", ")}.`);
  }
}
