/** A name that stands for 127.0.0.1 in the gateway that is tested, as long as its name server is meant to work. */
export const TEST_NAME = "upstream.chaos.test";
