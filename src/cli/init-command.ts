/** `byteproxy init`: its words and its help. What it does is in `init.ts`, loaded when it runs. */
import type { Command } from "commander";
import { withJson } from "./common-options.ts";

export function addInitCommand(program: Command): void {
  withJson(program.command("init"))
    .description("write a first configuration into this folder: services file, schema for editors, .env with new keys")
    .addHelpText("after", ABOUT)
    .action(async ({ json = false }: { json?: boolean }) => (await import("./init.ts")).init(process.cwd(), json));
}

const ABOUT = `
A file that is there is left as it is. Then: byteproxy, or npx byteproxy.`;
