/**
 * `byteproxy init`: a folder in which the gateway starts at once, protected, with one service to change.
 * Invariant: a file that is there is left as it is; and the keys are in .env alone, never on a terminal.
 */
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { servicesFileEditorSchema } from "../config/editor-schema.ts";
import { readTextFile } from "../config/read-file.ts";
import { remark, say, sayJson } from "./output.ts";
import { makeFolder, writeNew } from "./write-new.ts";

/** @param folder where it is written. @throws CliFailure */
export function init(folder: string, isJson: boolean): void {
  const written: string[] = [];
  const kept: string[] = [];
  for (const { path, text, mode } of filesOf()) {
    makeFolder(dirname(join(folder, path)));
    (writeNew(join(folder, path), text, mode) ? written : kept).push(path);
  }
  if (!isIgnored(folder)) remark("Keep .env and data/ out of version control: they hold secrets (.gitignore).");
  if (isJson) return sayJson({ written, kept });
  for (const path of written) say(`written  ${path}`);
  for (const path of kept) say(`kept     ${path}: it was there`);
  if (written.includes(".env"))
    say("The keys that callers (PROXY_API_KEY) and operators (MANAGEMENT_API_KEY) need are in .env.");
  say("Next: npx byteproxy, and in another terminal npx byteproxy doctor");
}

interface NewFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

function filesOf(): NewFile[] {
  return [
    { path: "config/services.json", text: `${JSON.stringify(SERVICES, null, 2)}\n`, mode: 0o644 },
    { path: "config/services.schema.json", text: servicesFileEditorSchema(), mode: 0o644 },
    { path: ".env", text: envFile(), mode: 0o600 },
    { path: ".gitignore", text: IGNORED.map((line) => `${line}\n`).join(""), mode: 0o644 },
  ];
}

/** One that needs no credential, so that it answers at once; its limit is what GitHub allows those who bring none. */
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

const envFile = () => `# Read at start. .env.local wins over this file, and the process environment over both.

# Callers present it as "Authorization: Bearer <key>" or "x-api-key: <key>" to /proxy/*.
PROXY_API_KEY=${newKey()}

# Operators, and the commands of byteproxy, present it to /manage/*.
MANAGEMENT_API_KEY=${newKey()}

# Credentials of upstreams, as auth.tokenEnvVar of a service names them: those of the built-in services.
# GITHUB_TOKEN=
# OPENAI_API_KEY=
# ANTHROPIC_API_KEY=
# DISCORD_TOKEN=
`;

/** 256 bits, in letters that need no quotes in an env file, a shell or a URL. */
const newKey = () => randomBytes(32).toString("base64url");

const IGNORED = [".env", ".env.local", "data/"];

function isIgnored(folder: string): boolean {
  const reading = readTextFile(join(folder, ".gitignore"));
  const lines = reading.state === "read" ? reading.text.split("\n").map((line) => line.trim()) : [];
  return [".env", "/.env", ".env*", "*.env"].some((line) => lines.includes(line));
}
