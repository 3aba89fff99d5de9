/** The configuration of a service from the command line: a text or a file, with the options taking precedence over it. */
import { text } from "node:stream/consumers";
import { parseText } from "../config/document.ts";
import { readTextFile } from "../config/read-file.ts";
import { isObject } from "../is-object.ts";
import { CliFailure } from "./cli-failure.ts";

export interface ServiceOptions {
  readonly baseUrl?: string;
  readonly auth?: string;
  readonly tokenEnvVar?: string;
  readonly tokenFile?: string;
  readonly headerName?: string;
  readonly queryParam?: string;
  readonly scheme?: string;
  readonly username?: string;
  readonly usernameEnvVar?: string;
  readonly config?: string;
  /** `-` reads stdin. */
  readonly file?: string;
}

/** Its meaning is checked by the gateway, or by the offline change. @throws CliFailure */
export async function readServiceConfig(options: ServiceOptions): Promise<Readonly<Record<string, unknown>>> {
  const { baseUrl } = options;
  const base = await readConfigurationText(options);
  const auth = authOptions(options);
  if (auth.type === undefined && Object.keys(auth).length > 0) {
    throw new CliFailure(2, ["The credential options need --auth: bearer, bot, basic or api-key."]);
  }
  return { ...base, ...withoutUndefined({ baseUrl, auth: auth.type === undefined ? undefined : auth }) };
}

/** The credential of the command line. */
export function authOptions(options: ServiceOptions) {
  const { auth: type, tokenEnvVar, tokenFile, headerName, queryParam, scheme, username, usernameEnvVar } = options;
  return withoutUndefined({
    type,
    tokenEnvVar,
    tokenFile,
    headerName,
    queryParam,
    scheme,
    username,
    usernameEnvVar,
  });
}

/** The object of `--config` or `--file`; undefined without both. @throws CliFailure */
export async function readConfigurationText({
  config,
  file,
}: Pick<ServiceOptions, "config" | "file">): Promise<Readonly<Record<string, unknown>> | undefined> {
  if (config !== undefined) return readObject("--config", config);
  if (file === undefined) return undefined;
  return readObject(file === "-" ? "stdin" : file, file === "-" ? await text(process.stdin) : readFile(file));
}

function readFile(path: string): string {
  const reading = readTextFile(path);
  if (reading.state === "read") return reading.text;
  const reason = reading.state === "absent" ? "there is no such file" : reading.reason;
  throw new CliFailure(2, [`--file ${path} cannot be read: ${reason}`]);
}

/** Read as the services file is: JSON or YAML. Each problem has its line and column, and quotes nothing of the text. */
function readObject(name: string, text: string): Readonly<Record<string, unknown>> {
  const { data, problems } = parseText(text);
  if (problems.length > 0) {
    throw new CliFailure(
      2,
      problems.map((problem) => `${name}:${problem}`),
    );
  }
  if (isObject(data)) return data;
  throw new CliFailure(2, [`${name}: found no object, allowed: a service as in the services file, in JSON or YAML`]);
}

function withoutUndefined(members: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
