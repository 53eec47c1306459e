// SPDX-FileCopyrightText: 2026 The Dragoman Authors
// SPDX-License-Identifier: Apache-2.0

import java.io.IOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import java.util.Set;

/**
 * Starts a broker from variables, by the rules of Apache's own image: KAFKA_LOG_DIRS is log.dirs, two underscores are
 * one, three are a hyphen. The storage is formatted for CLUSTER_ID on the first start. No shell is needed.
 */
final class Broker {
    private static final Path FILE = Path.of("/tmp/server.properties");
    private static final Path DATA = Path.of("/data/kafka");
    private static final String PREFIX = "KAFKA_";
    /** Variables of Apache's start scripts, which are no properties. */
    private static final Set<String> OTHERS =
            Set.of("KAFKA_VERSION", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_JMX_OPTS");

    private Broker() {}

    public static void main(String[] arguments) throws IOException {
        Properties properties = properties(System.getenv());
        try (Writer writer = Files.newBufferedWriter(FILE)) {
            properties.store(writer, null);
        }
        if (!Files.exists(Path.of(properties.getProperty("log.dirs"), "meta.properties"))) {
            String cluster = System.getenv("CLUSTER_ID");
            if (cluster == null) {
                System.err.println("CLUSTER_ID must be set: 22 characters of base64url");
                System.exit(2);
            }
            String[] format = {"format", "-t", cluster, "-c", FILE.toString()};
            if (kafka.tools.StorageTool.execute(format, System.err) != 0) {
                System.exit(1);
            }
        }
        kafka.Kafka.main(new String[] {FILE.toString()});
    }

    private static Properties properties(Map<String, String> variables) {
        Properties properties = new Properties();
        properties.setProperty("log.dirs", DATA.toString());
        variables.forEach((variable, value) -> {
            if (variable.startsWith(PREFIX) && !OTHERS.contains(variable)) {
                properties.setProperty(property(variable.substring(PREFIX.length())), value);
            }
        });
        return properties;
    }

    private static String property(String variable) {
        return variable.toLowerCase(java.util.Locale.ROOT)
                .replace("___", "-")
                .replace("__", "\0")
                .replace('_', '.')
                .replace('\0', '_');
    }
}
