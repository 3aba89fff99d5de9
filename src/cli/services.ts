/** `byteproxy services`: list, show, add, update, test and remove the services of a gateway. */
import { type Command, Option } from "commander";
import type { ProbeOutcome } from "../data-plane/forward/probe.ts";
import { plural } from "../plural.ts";
import type { ServiceItem } from "../services/items.ts";
import type { RecipeOptions } from "./choose-recipe.ts";
import { CliFailure } from "./cli-failure.ts";
import { ABOUT_THE_GATEWAY, type CommonOptions, collect, withGateway, withJson, withOffline } from "./options.ts";
import { printJson, printLine, printNote, printTable } from "./output.ts";
import { describeCredential, pathOf, withServiceBackend } from "./service-backend.ts";
import type { UpdateOptions } from "./update-service.ts";

export function addServicesCommand(program: Command): void {
  const services = program
    .command("services")
    .description("manage the services of a running gateway: list, show, add, update, test, remove")
    .addHelpText("after", GROUP_EXAMPLES)
    .addHelpText("afterAll", ABOUT_THE_GATEWAY);

  withOffline(withGateway(services.command("list")))
    .description("list all services: where they are defined, whether their credential is set, and their base URL")
    .addHelpText(
      "after",
      "\nExamples:\n  byteproxy services list\n  byteproxy services list --json | jq -r '.services[].key'",
    )
    .action(listServices);

  addShowCommand(services);
  addAddCommand(services);
  addUpdateCommand(services);

  withJson(services.command("recipes"))
    .description("list the APIs that services add knows by name, and what each needs")
    .addHelpText("after", "\nExamples:\n  byteproxy services recipes")
    .action(async (options: { json?: boolean }) => (await import("./list-recipes.ts")).listRecipes(options));

  withGateway(services.command("test"))
    .description("send one request to a service's upstream: is it reachable, and if not, why; exit code 1 if not")
    .argument("<key>", "the service's key")
    .addHelpText("after", "\nExamples:\n  byteproxy services test github")
    .action(testService);

  withOffline(withGateway(services.command("remove")))
    .description("remove a service that was added at run time, or undo the run-time changes of another service")
    .argument("<key>", "the service's key")
    .addHelpText("after", "\nExamples:\n  byteproxy services remove weather")
    .action(removeService);
}

function addShowCommand(services: Command): void {
  withOffline(withGateway(services.command("show")))
    .description("show a service: where it is defined, its credential, and its configuration as it was written")
    .argument("<key>", "the service's key")
    .addHelpText("after", SHOW_EXAMPLES)
    .action(async (key: string, options: CommonOptions) =>
      (await import("./update-service.ts")).showService(key, options),
    );
}

const SHOW_EXAMPLES = `
Header values that may be secret are shown as ***.

Examples:
  byteproxy services show github
  byteproxy services show github --json | jq .config`;

function addUpdateCommand(services: Command): void {
  const update = services
    .command("update")
    .description("change members of a service; the gateway uses them from the next request on, and after a restart")
    .argument("<key>", "the service's key")
    .addOption(
      new Option(
        "--config <json>",
        "the members to change, as a merge patch (RFC 7396): null removes a member",
      ).conflicts("file"),
    )
    .option("--file <path>", "the same from a file, JSON or YAML; - reads stdin")
    .addHelpText("after", UPDATE_EXAMPLES);
  withOffline(withGateway(update)).action(async (key: string, options: UpdateOptions) =>
    (await import("./update-service.ts")).updateService(key, options),
  );
}

const UPDATE_EXAMPLES = `
The change overrides the services file and what is built in, until byteproxy services remove undoes it. It is refused
if another operator changes the service at the same time.

Examples:
  byteproxy services update weather --config '{"timeoutMs": 60000}'
  byteproxy services update weather --config '{"rateLimit": null, "methods": ["GET"]}'
  byteproxy services update weather --file changes.yaml`;

const GROUP_EXAMPLES = `
Examples:
  byteproxy services list
  byteproxy services add weather --base-url https://api.weather.example/v2/
  byteproxy services test weather`;

function addAddCommand(services: Command): void {
  const add = services
    .command("add")
    .description("add a service; the gateway serves it from the next request on, and after a restart")
    .argument(
      "<key>",
      "the service's key: callers send requests to /proxy/<key>/; also the name of a recipe, like stripe",
    )
    .option("--recipe <name>", "recipe for the configuration, if its name is not the key; services recipes lists them")
    .option("--set <name=value>", "a value that the recipe asks for, like host=acme.example; may be repeated", collect)
    .option("--base-url <url>", "URL of the upstream")
    .addOption(
      new Option("--auth <type>", "how the gateway sends the service's credential").choices([
        "bearer",
        "bot",
        "basic",
        "api-key",
      ]),
    )
    .addOption(
      new Option("--token-env-var <name>", "environment variable of the gateway that holds the secret").conflicts(
        "tokenFile",
      ),
    )
    .option("--token-file <path>", "file that holds the secret, as a path on the gateway's machine")
    .addOption(new Option("--header-name <name>", "--auth api-key: the header for the secret").conflicts("queryParam"))
    .option("--query-param <name>", "--auth api-key: the query parameter for the secret")
    .option("--scheme <text>", "--auth api-key: text before the secret in the header, like Token")
    .addOption(
      new Option("--username <name>", "--auth basic: the user name; the secret is then the password").conflicts(
        "usernameEnvVar",
      ),
    )
    .option("--username-env-var <name>", "--auth basic: environment variable of the gateway that holds the user name")
    .addOption(
      new Option(
        "--config <json>",
        "the whole configuration, as in the services file; the options above take precedence",
      ).conflicts("file"),
    )
    .option("--file <path>", "the same from a file, JSON or YAML; - reads stdin")
    .addHelpText("after", ADD_EXAMPLES);
  withOffline(withGateway(add)).action(addService);
}

const ADD_EXAMPLES = `
Examples:
  byteproxy services add stripe --offline
  byteproxy services add support --recipe jira --set host=acme.atlassian.net --offline
  byteproxy services add weather --base-url https://api.weather.example/v2/
  byteproxy services add weather --base-url https://api.weather.example/v2/ \\
    --auth api-key --header-name X-Weather-Key --token-env-var WEATHER_KEY
  byteproxy services add weather --config '{"baseUrl":"https://api.weather.example/v2/","methods":["GET"]}'
  byteproxy services add weather --file - < weather.json

A service that is added to a running gateway may use a secret only if its services file or REST_SECRETS allows it.
A recipe with --offline is written to the services file of this folder, also while a gateway runs: reload it afterwards.`;

async function listServices(options: CommonOptions): Promise<void> {
  const list = await withServiceBackend(options, (backend) => backend.list());
  if (options.json) return printJson(list);
  printTable(["KEY", "SOURCE", "CREDENTIAL", "BASE URL"], list.services.map(rowOf));
  for (const { key, outOfUse } of list.services) {
    if (outOfUse !== undefined) printNote(`${key} is out of use: ${outOfUse.join("; ")}`);
  }
}

function rowOf({ key, source, config, credential }: ServiceItem): string[] {
  return [key, source, describeCredential(credential), String(config.baseUrl)];
}

async function addService(key: string, options: CommonOptions & RecipeOptions): Promise<void> {
  // Loaded only here: reading a recipe needs zod.
  const { chooseRecipe } = await import("./choose-recipe.ts");
  const chosen = chooseRecipe(key, options);
  if (chosen !== undefined) {
    const { addFromRecipe } = await import("./add-from-recipe.ts");
    return addFromRecipe(key, chosen, options);
  }
  const { readServiceConfig } = await import("./service-config.ts");
  const config = await readServiceConfig(options);
  const item = await withServiceBackend(options, (backend) => backend.add(key, config));
  if (options.json) return printJson(item);
  const credential = item.credential.source === null ? "" : ` (credential ${describeCredential(item.credential)})`;
  const from = options.offline ? "from the next start on" : "from now on";
  printLine(`${key} is served ${from}: /proxy/${key}/ leads to ${String(item.config.baseUrl)}${credential}`);
}

async function removeService(key: string, options: CommonOptions): Promise<void> {
  const { source } = await withServiceBackend(options, (backend) => backend.remove(key));
  if (options.json) return printJson({ key, source, removed: true });
  printLine(
    source === "override"
      ? `Removed the run-time changes of ${key}: its original configuration applies`
      : `Removed ${key}`,
  );
}

/** Exit code 1 for a service that cannot be reached. */
async function testService(key: string, { url, json }: CommonOptions): Promise<void> {
  const { openGatewayClient } = await import("./gateway-client.ts");
  // Never offline: the result depends on the running gateway's network and egress rules.
  const outcome = await openGatewayClient(url).ask<ProbeOutcome>("POST", `${pathOf(key)}/test`, {
    members: ["service", "status", "phases", "credential"],
  });
  if (outcome.status === "reachable") {
    if (json) printJson(outcome);
    else printLine(describeReachable(outcome));
    return;
  }
  const { phase, error = "", troubleshooting = [] } = outcome;
  const reason = error.startsWith(`${key}: `) ? error.slice(key.length + 2) : error;
  const line = `${key} is unreachable (${phase ?? "credential"}): ${[reason, ...troubleshooting].join(" ")}`;
  throw new CliFailure(1, [line], outcome);
}

function describeReachable(outcome: ProbeOutcome): string {
  const { service, responseStatus, duration, phases, credential, certificate } = outcome;
  const times = Object.entries(phases).flatMap(([name, ms]) => (ms === null ? [] : `${name} ${ms}`));
  const facts = [
    `${service} is reachable: ${responseStatus} in ${duration} (${times.join(", ")} ms)`,
    ...(credential === "none" ? [] : [`credential ${credential}`]),
    ...(certificate === null ? [] : [`certificate valid for ${plural(certificate.daysLeft, "day")}`]),
  ];
  return facts.join("; ");
}
