/** `byteproxy services`: its words and its help. What they do is in `services-actions.ts`, loaded when one of them runs. */
import { type Command, Option } from "commander";
import { ABOUT_THE_GATEWAY, withGateway, withOffline } from "./common-options.ts";
import type { ServiceOptions } from "./service-config.ts";
import type { CommonOptions } from "./services-actions.ts";

const actions = () => import("./services-actions.ts");

export function addServicesCommand(program: Command): void {
  const services = program
    .command("services")
    .description("the services of a running gateway: list, add, test, remove")
    .addHelpText("afterAll", ABOUT_THE_GATEWAY);

  withOffline(withGateway(services.command("list")))
    .description("all services: where they come from, whether their credential is there, where they lead")
    .action(async (options: CommonOptions) => (await actions()).listServices(options));

  addAddCommand(services);

  withGateway(services.command("test"))
    .description("one look at a service's upstream, now: reachable or not, and why; exit code 1 if not")
    .argument("<key>", "the service's key")
    .action(async (key: string, options: CommonOptions) => (await actions()).probeService(key, options));

  withOffline(withGateway(services.command("remove")))
    .description("remove a service that was added at run time, or take back what was changed of another")
    .argument("<key>", "the service's key")
    .action(async (key: string, options: CommonOptions) => (await actions()).removeService(key, options));
}

function addAddCommand(services: Command): void {
  const add = services
    .command("add")
    .description("add a service; it is served from the next request on, and after a restart")
    .argument("<key>", "its key: callers ask for /proxy/<key>/")
    .option("--base-url <url>", "where its requests go")
    .addOption(
      new Option("--auth <type>", "how the gateway presents its credential").choices([
        ...["bearer", "bot", "basic", "api-key"],
      ]),
    )
    .addOption(
      new Option("--token-env-var <name>", "variable of the gateway that holds the secret").conflicts("tokenFile"),
    )
    .option("--token-file <path>", "file that holds the secret, as the gateway sees it")
    .addOption(new Option("--header-name <name>", "--auth api-key: the header for the secret").conflicts("queryParam"))
    .option("--query-param <name>", "--auth api-key: the query parameter for the secret")
    .addOption(
      new Option(
        "--config <json>",
        "the configuration, as the services file has it; options above go over it",
      ).conflicts("file"),
    )
    .option("--file <path>", "the same from a file, JSON or YAML; - is stdin")
    .addHelpText("after", ADD_EXAMPLES);
  withOffline(withGateway(add)).action(async (key: string, options: CommonOptions & ServiceOptions) =>
    (await actions()).addService(key, options),
  );
}

const ADD_EXAMPLES = `
Examples:
  byteproxy services add weather --base-url https://api.weather.example/v2/
  byteproxy services add weather --base-url https://api.weather.example/v2/ \\
    --auth api-key --header-name X-Weather-Key --token-env-var WEATHER_KEY
  byteproxy services add weather --config '{"baseUrl":"https://api.weather.example/v2/","methods":["GET"]}'
  byteproxy services add weather --file - < weather.json

A service that is added like this may use a secret only where the services file or REST_SECRETS of the gateway allows it.`;
