/** `byteproxy login`: a person logs in at the authorization server of a service, whose refresh token becomes its credential. */
import { type Command, InvalidArgumentError } from "commander";
import { isLoopbackHost } from "../config/hosts.ts";
import { ABOUT_THE_GATEWAY, readDuration, withGateway } from "./options.ts";
import type { LoginOptions } from "./run-login.ts";

export function addLoginCommand(program: Command): void {
  withGateway(program.command("login"))
    .description('log in for a service with "refreshToken": "login"; the gateway then obtains access tokens')
    .argument("<key>", "the service's key")
    .option("--device", "show a code to enter on another machine, instead of a URL to open on this one")
    .option(
      "--redirect-uri <url>",
      "where the browser returns to, as it is registered with the provider; default: http://127.0.0.1/callback with a free port",
      readRedirectUri,
    )
    .option("--timeout <duration>", "how long to wait for the person; default: 5m", readDuration)
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action(async (key: string, options: LoginOptions) => (await import("./run-login.ts")).runLogin(key, options));
}

const EXAMPLES = `
It reads the service, its client and its secrets from the files of this folder, as a start does. The token goes to the
running gateway; if none runs, to DATA_DIR. It is never printed.

Examples:
  byteproxy login spotify
  byteproxy login github --device
  byteproxy login notion --redirect-uri http://localhost:8484/callback`;

/** @throws InvalidArgumentError */
function readRedirectUri(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isUsable = url !== undefined && url.protocol === "http:" && isLoopbackHost(url.hostname) && !/[?#@]/.test(text);
  if (isUsable) return url;
  throw new InvalidArgumentError("Allowed: an http URL of this machine, like http://127.0.0.1:8484/callback.");
}
