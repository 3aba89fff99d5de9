/**
 * `byteproxy init`: creates a first configuration with which the gateway starts, protected by keys, with one example service.
 * Invariant: existing files are not changed. The keys are in .env only, never on a terminal.
 */
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { readTextFile } from "../config/read-file.ts";
import { withJson } from "./options.ts";
import { makeFolder, printJson, printLine, printNote, writeNewFile } from "./output.ts";

export function addInitCommand(program: Command): void {
  withJson(program.command("init"))
    .description("create a first configuration in this folder: services file, schema for editors, .env with new keys")
    .addHelpText(
      "after",
      "\nExisting files are not changed. The output ends with commands to try.\n\nExamples:\n  byteproxy init && byteproxy start",
    )
    .action(({ json = false }: { json?: boolean }) => init(process.cwd(), json));
}

/** @throws CliFailure */
async function init(folder: string, isJson: boolean): Promise<void> {
  // Loaded only here: zod takes longer than all the rest of `--help`.
  const { servicesFileEditorSchema } = await import("../config/json-schema.ts");
  const written: string[] = [];
  const kept: string[] = [];
  for (const { path, text, mode } of newFiles(servicesFileEditorSchema())) {
    makeFolder(dirname(join(folder, path)));
    (writeNewFile(join(folder, path), text, mode) ? written : kept).push(path);
  }
  if (!isEnvIgnored(folder)) {
    printNote("Keep .env and data/ out of version control: they hold secrets. Add them to .gitignore.");
  }
  if (isJson) return printJson({ written, kept });
  for (const path of written) printLine(`created  ${path}`);
  for (const path of kept) printLine(`kept     ${path} (it exists)`);
  if (written.includes(".env")) {
    printLine("The keys for callers (PROXY_API_KEY) and operators (MANAGEMENT_API_KEY) are in .env.");
  }
  printLine("Start the gateway: npx byteproxy");
  if (written.includes(".env")) {
    printLine("Then try it in another terminal:");
    // The key itself is not printed; this works in every folder.
    const key = `$(sed -n 's/^PROXY_API_KEY=//p' '${join(folder, ".env")}')`;
    printLine(`  curl -H "Authorization: Bearer ${key}" 'http://localhost:3420/proxy/echo/hello?x=1'`);
    printLine("  npx byteproxy doctor");
  }
}

interface NewFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

function newFiles(schema: string): NewFile[] {
  return [
    { path: "config/services.json", text: `${JSON.stringify(SERVICES, null, 2)}\n`, mode: 0o644 },
    { path: "config/services.schema.json", text: schema, mode: 0o644 },
    { path: ".env", text: envFile(), mode: 0o600 },
    { path: ".gitignore", text: IGNORED.map((line) => `${line}\n`).join(""), mode: 0o644 },
  ];
}

/** Works without a credential. Its rate limit is the one that GitHub has for requests without a credential. */
const SERVICES = {
  $schema: "./services.schema.json",
  services: {
    example: {
      name: "An example: GitHub's public API, without a credential",
      baseUrl: "https://api.github.com/",
      headers: { Accept: "application/vnd.github+json" },
      rateLimit: { maxRequests: 60, windowMs: 3_600_000 },
      methods: ["GET"],
    },
  },
};

const envFile =
  () => `# Read at start. .env.local takes precedence over this file, and the process environment over both.

# Callers send this key to /proxy/*, as "Authorization: Bearer <key>" or "x-api-key: <key>".
PROXY_API_KEY=${newKey()}

# Operators, and the commands of byteproxy, send this key to /manage/*.
MANAGEMENT_API_KEY=${newKey()}

# Credentials of upstreams: the variables that auth.tokenEnvVar of a service names. These are for the built-in services.
# GITHUB_TOKEN=
# OPENAI_API_KEY=
# ANTHROPIC_API_KEY=
# DISCORD_TOKEN=
`;

/** 256 bits, in characters that need no quotes in an env file, a shell or a URL. */
const newKey = () => randomBytes(32).toString("base64url");

const IGNORED = [".env", ".env.local", "data/"];

function isEnvIgnored(folder: string): boolean {
  const reading = readTextFile(join(folder, ".gitignore"));
  const lines = reading.state === "read" ? reading.text.split("\n").map((line) => line.trim()) : [];
  return [".env", "/.env", ".env*", "*.env"].some((line) => lines.includes(line));
}
