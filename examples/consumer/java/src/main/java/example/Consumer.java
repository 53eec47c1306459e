// SPDX-FileCopyrightText: 2026 The Dragoman Authors
// SPDX-License-Identifier: Apache-2.0
package example;

import java.io.PrintStream;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Counts what Dragoman's models did, from its Kafka topics. Imports nothing of Dragoman but the compiled protos.
 *
 * <pre>dragoman.predictions, dragoman.feedback -> Events: check -> Counts: drop repetitions, join labels, count -> JSON</pre>
 *
 * How to run it: README.md, one folder up. What the numbers mean: docs/interfaces.md, "Counting events yourself".
 *
 * <p>The counts live in memory, so every start reads the topics from their beginning, and so does every rebalance: what
 * is printed is always the whole of the partitions that are named beside it. Offsets are committed all the same, behind
 * the counting, so that Kafka's tools show the lag. A consumer that keeps its counts in a database would write its
 * offsets in the same transaction, and begin there.
 */
public final class Consumer {
  /** The consumer group's member, and how far it is. */
  static final class Reading implements ConsumerRebalanceListener, AutoCloseable {
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Counts counts;
    private final String prefix;
    private final Map<TopicPartition, Long> left = new HashMap<>(); // those that have not reached their end yet
    private Map<String, List<Integer>> partitions; // null before the group has given us any
    private long commitDueMs;

    Reading(Properties config, Counts counts, String prefix) {
      this.counts = counts;
      this.prefix = prefix;
      config.put("enable.auto.commit", "false");
      config.put("auto.offset.reset", "earliest");
      config.put("isolation.level", "read_committed");
      // Gives a member the same partition numbers of both topics, so that a label meets its prediction.
      config.put("partition.assignment.strategy", RangeAssignor.class.getName());
      consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
      consumer.subscribe(List.of(prefix + Events.PREDICTIONS, prefix + Events.FEEDBACK), this);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {}

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
      counts.clear();
      left.clear();
      left.putAll(consumer.endOffsets(assigned));
      consumer.seekToBeginning(assigned);
      partitions = new TreeMap<>();
      for (String topic : List.of(Events.PREDICTIONS, Events.FEEDBACK)) {
        partitions.put(topic, new ArrayList<>());
      }
      assigned.stream()
          .sorted(Comparator.comparing(TopicPartition::partition))
          .forEach(one -> partitions.get(one.topic().substring(prefix.length())).add(one.partition()));
    }

    boolean isAtEnd() {
      left.entrySet().removeIf(end -> consumer.position(end.getKey()) >= end.getValue());
      return partitions != null && left.isEmpty();
    }

    /** Take what comes within a moment; returns whether something came. */
    boolean step() {
      ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
      for (ConsumerRecord<byte[], byte[]> record : records) {
        Map<String, byte[]> headers = new HashMap<>();
        for (Header header : record.headers()) {
          headers.put(header.key(), header.value() == null ? new byte[0] : header.value());
        }
        byte[] value = record.value() == null ? new byte[0] : record.value();
        counts.take(record.topic().substring(prefix.length()), headers, value);
      }
      if (System.currentTimeMillis() >= commitDueMs) {
        consumer.commitAsync(); // of what has been counted
        commitDueMs = System.currentTimeMillis() + 5_000;
      }
      return !records.isEmpty();
    }

    @Override
    public void close() {
      try {
        consumer.commitSync();
      } finally {
        consumer.close();
      }
    }
  }

  /** JSON of maps, lists, texts and whole numbers. */
  static void write(Object node, StringBuilder json) {
    if (node instanceof Map<?, ?> map) {
      String before = "{";
      for (Map.Entry<?, ?> entry : map.entrySet()) {
        json.append(before);
        write(entry.getKey(), json);
        json.append(": ");
        write(entry.getValue(), json);
        before = ", ";
      }
      json.append(map.isEmpty() ? "{}" : "}");
    } else if (node instanceof List<?> list) {
      json.append('[');
      for (int i = 0; i < list.size(); i++) {
        json.append(i == 0 ? "" : ", ");
        write(list.get(i), json);
      }
      json.append(']');
    } else if (node instanceof String text) {
      json.append('"');
      text.chars().forEach(unit -> json.append(escaped((char) unit)));
      json.append('"');
    } else {
      json.append(node);
    }
  }

  static String escaped(char unit) {
    boolean isPlain = unit >= ' ' && unit != '"' && unit != '\\';
    return isPlain ? String.valueOf(unit) : String.format("\\u%04x", (int) unit);
  }

  static void usage(String problem) {
    System.err.println(problem);
    System.err.println(
        "consumer.jar CONFIG (--until-end | --follow) [--every-s 10] [--give-up-s 60] [--window-s 0]\n"
            + "  [--max-rows 1000000] [--group dragoman-example-java] [--topic-prefix '']\n"
            + "CONFIG: a file of the Java client's settings, bootstrap.servers=... and so on");
    System.exit(2);
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, String> options =
        new HashMap<>(
            Map.of("every-s", "10", "give-up-s", "60", "window-s", "0", "max-rows", "1000000", "topic-prefix", ""));
    options.put("group", "dragoman-example-java");
    String config = null;
    String mode = null;
    for (int i = 0; i < arguments.length; i++) {
      String name = arguments[i].startsWith("--") ? arguments[i].substring(2) : "";
      if (Set.of("until-end", "follow").contains(name) && mode == null) {
        mode = name;
      } else if (options.containsKey(name) && i + 1 < arguments.length) {
        options.put(name, arguments[++i]);
      } else if (name.isEmpty() && config == null) {
        config = arguments[i];
      } else {
        usage("not understood: " + arguments[i]);
      }
    }
    if (config == null || mode == null) {
      usage("a config and a mode are needed");
    }
    Properties settings = new Properties();
    settings.put("group.id", options.get("group"));
    try (Reader file = Files.newBufferedReader(Path.of(config))) {
      settings.load(file);
    }
    System.exit(run(settings, mode.equals("follow"), options));
  }

  static int run(Properties settings, boolean follows, Map<String, String> options) throws InterruptedException {
    long everyMs = (long) (Double.parseDouble(options.get("every-s")) * 1e3);
    long giveUpMs = (long) (Double.parseDouble(options.get("give-up-s")) * 1e3);
    Counts counts =
        new Counts(Long.parseLong(options.get("window-s")), Integer.parseInt(options.get("max-rows")));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    CountDownLatch closed = new CountDownLatch(1);
    try (Reading reading = new Reading(settings, counts, options.get("topic-prefix"))) {
      Thread stop =
          new Thread(
              () -> {
                // The only method of the client that another thread may call: poll ends with WakeupException.
                reading.consumer.wakeup();
                try {
                  closed.await();
                } catch (InterruptedException error) {
                  Thread.currentThread().interrupt();
                }
              });
      Runtime.getRuntime().addShutdownHook(stop);
      try {
        long movedMs = System.currentTimeMillis();
        long shownMs = movedMs;
        while (follows || !reading.isAtEnd()) {
          long nowMs = System.currentTimeMillis();
          if (reading.step()) {
            movedMs = nowMs;
          } else if (!follows && nowMs - movedMs > giveUpMs) {
            System.err.println("no message for " + giveUpMs + " ms, and not at the end");
            return 1;
          }
          if (follows && reading.partitions != null && nowMs - shownMs >= everyMs) {
            show(reading, counts, out);
            shownMs = nowMs;
          }
        }
        show(reading, counts, out);
        return 0;
      } catch (WakeupException error) {
        return 0;
      }
    } finally {
      closed.countDown();
    }
  }

  static void show(Reading reading, Counts counts, PrintStream out) {
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("partitions", reading.partitions);
    document.putAll(counts.document());
    StringBuilder json = new StringBuilder();
    write(document, json);
    out.println(json);
  }
}
