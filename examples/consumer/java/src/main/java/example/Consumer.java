// SPDX-FileCopyrightText: 2026 The Dragoman Authors
// SPDX-License-Identifier: Apache-2.0
package example;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Timestamp;
import dragoman.events.v1.Events.Feedback;
import dragoman.events.v1.Events.Prediction;
import java.io.PrintStream;
import java.io.Reader;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
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
import java.util.regex.Pattern;
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
 * <pre>dragoman.predictions, dragoman.feedback -> check -> drop repetitions -> join labels to rows -> count -> JSON</pre>
 *
 * How to run it: README.md, one folder up. What the numbers mean: docs/interfaces.md, "Counting events yourself".
 *
 * <p>The counts live in memory, so every start reads the topics from their beginning, and so does every rebalance: what
 * is printed is always the whole of the partitions that are named beside it. Offsets are committed all the same, behind
 * the counting, so that Kafka's tools show the lag. A consumer that keeps its counts in a database would write its
 * offsets in the same transaction, and begin there.
 */
public final class Consumer {
  static final String PREDICTIONS = "dragoman.predictions";
  static final String FEEDBACK = "dragoman.feedback";
  static final long MAX_TIME_US = 253_402_300_799_999_999L; // the year 9999
  static final Pattern CODE = Pattern.compile("[A-Z][A-Z_]{1,31}");
  static final Pattern RATE = Pattern.compile("[0-9]{1,9}");
  static final Pattern EXTENSION = Pattern.compile("[a-z0-9]{1,20}");
  static final Pattern CONTROL = Pattern.compile("[\\x00-\\x1f\\x7f-\\x9f]");

  /** A message that is no event: it is counted as poison, and passed over. */
  static final class Poison extends Exception {
    Poison(String why) {
      super(why);
    }
  }

  static void require(boolean condition, String why) throws Poison {
    if (!condition) {
      throw new Poison(why);
    }
  }

  // ---- reading: a message of Kafka -> a checked Prediction or Feedback

  /** The CloudEvents attributes of a message in binary mode, without their prefix. */
  static Map<String, String> envelope(Map<String, byte[]> headers, String type) throws Poison {
    Map<String, String> attributes = new HashMap<>();
    try {
      byte[] contentType = headers.getOrDefault("content-type", new byte[0]);
      require(utf8(contentType).equals("application/protobuf"), "content-type");
      for (Map.Entry<String, byte[]> header : headers.entrySet()) {
        if (header.getKey().startsWith("ce_")) {
          attributes.put(header.getKey().substring(3), utf8(header.getValue()));
        }
      }
      OffsetDateTime.parse(attributes.getOrDefault("time", ""));
    } catch (CharacterCodingException | DateTimeException error) {
      throw new Poison("an attribute cannot be read");
    }
    require("1.0".equals(attributes.get("specversion")), "ce_specversion");
    require(type.equals(attributes.get("type")), "ce_type");
    require(!attributes.getOrDefault("id", "").isEmpty(), "ce_id");
    require(!attributes.getOrDefault("source", "").isEmpty(), "ce_source");
    for (Map.Entry<String, String> attribute : attributes.entrySet()) {
      String name = attribute.getKey();
      require(EXTENSION.matcher(name).matches() && !Set.of("data", "datacontenttype").contains(name), "a name");
      require(numBytes(attribute.getValue()) <= 1024 && !CONTROL.matcher(attribute.getValue()).find(), name);
    }
    return attributes;
  }

  static String utf8(byte[] bytes) throws CharacterCodingException {
    // new String(bytes) would put a replacement where the bytes are no text.
    return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
  }

  static int numBytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  static boolean isName(String text) {
    return !text.isEmpty() && numBytes(text) <= 256 && text.indexOf('\0') < 0;
  }

  static boolean isLabel(String text) {
    return !text.isEmpty() && text.codePointCount(0, text.length()) <= 128 && text.indexOf('\0') < 0;
  }

  /** Microseconds since 1970; a time that is missing is 0. */
  static long timeUs(Timestamp time) throws Poison {
    require(Math.abs(time.getSeconds()) < 1_000_000_000_000L, "a time is out of range");
    long us = time.getSeconds() * 1_000_000 + Math.floorDiv(time.getNanos(), 1_000);
    require(0 < us && us <= MAX_TIME_US, "a time is missing");
    return us;
  }

  static Prediction prediction(Map<String, byte[]> headers, byte[] value) throws Poison {
    Map<String, String> attributes = envelope(headers, Prediction.getDescriptor().getFullName());
    Prediction event;
    try {
      event = Prediction.parseFrom(value);
    } catch (InvalidProtocolBufferException error) {
      throw new Poison("the value does not parse");
    }
    checkKey(attributes, event.getTenant(), event.getRequestId(), event.getRow());
    require(isName(event.getModel()) && event.getVersion() >= 1, "model or version");
    require(Set.of("stable", "canary", "shadow").contains(event.getArm()), "arm");
    require(CODE.matcher(event.getCode()).matches(), "code");
    require(0 <= event.getLatencyMs() && event.getLatencyMs() <= 1e9, "latency_ms"); // false for NaN
    require(0 <= event.getNumUnknownTokens() && event.getNumUnknownTokens() <= event.getNumTokens(), "tokens");
    String rate = attributes.getOrDefault("sampledrate", "1");
    require(RATE.matcher(rate).matches() && 1 <= Long.parseLong(rate) && Long.parseLong(rate) <= 10_000_000, "rate");
    timeUs(event.getAcceptTime());
    if (event.getCode().equals("OK")) {
      require(isLabel(event.getLabel()), "label");
      require(0 <= event.getScore() && event.getScore() <= 1 + 1e-5, "score");
    }
    return event;
  }

  static Feedback feedback(Map<String, byte[]> headers, byte[] value) throws Poison {
    Map<String, String> attributes = envelope(headers, Feedback.getDescriptor().getFullName());
    Feedback event;
    try {
      event = Feedback.parseFrom(value);
    } catch (InvalidProtocolBufferException error) {
      throw new Poison("the value does not parse");
    }
    checkKey(attributes, event.getTenant(), event.getRequestId(), event.getRow());
    require(isLabel(event.getTrueLabel()), "true_label");
    timeUs(event.getReceiveTime());
    return event;
  }

  static void checkKey(Map<String, String> attributes, String tenant, String requestId, int row) throws Poison {
    // Brokers give rights by the envelope: a value that speaks for another tenant must not count.
    require(attributes.getOrDefault("tenant", tenant).equals(tenant), "ce_tenant");
    require(attributes.getOrDefault("requestid", requestId).equals(requestId), "ce_requestid");
    require(isName(tenant) && isName(requestId), "tenant or request_id");
    require(0 <= row && row <= 1_000_000, "row");
  }

  /** Whose poison it is, as far as the envelope can be read. */
  static String claimedTenant(Map<String, byte[]> headers) {
    byte[] raw = headers.getOrDefault("ce_tenant", new byte[0]);
    String text = new String(raw, StandardCharsets.UTF_8);
    return raw.length <= 256 && text.indexOf('\ufffd') < 0 && text.indexOf('\0') < 0 ? text : "";
  }

  // ---- counting: events in any order, and repeated, give the same counts

  record RowKey(String tenant, String requestId, int row) {}

  record Series(String tenant, String model, long version, String arm) implements Comparable<Series> {
    static final Comparator<Series> ORDER =
        Comparator.comparing(Series::tenant)
            .thenComparing(Series::model)
            .thenComparing(Series::version)
            .thenComparing(Series::arm);

    @Override
    public int compareTo(Series other) {
      return ORDER.compare(this, other);
    }
  }

  /** Of several labels of a row the newest holds; equal times are settled by the text, by code points. */
  record Label(long timeUs, String text) {
    boolean isNewerThan(Label other) {
      if (timeUs != other.timeUs) {
        return timeUs > other.timeUs;
      }
      // UTF-8 bytes have the order of code points; Java's own order of strings is another one.
      byte[] mine = text.getBytes(StandardCharsets.UTF_8);
      return java.util.Arrays.compareUnsigned(mine, other.text.getBytes(StandardCharsets.UTF_8)) > 0;
    }
  }

  /** Where a prediction was counted, and its answer (empty: refused). */
  record Counted(Measures measures, String answer) {}

  /** What must be remembered of a row, to know it again and to join its label. A shadow is a copy of a stable row. */
  static final class Row {
    final Map<String, Counted> arms = new HashMap<>(2);
    Label label;
  }

  /** Counts of one version and arm in one window. */
  static final class Measures {
    final Map<String, Long> codes = new TreeMap<>();
    final Map<String, Long> labels = new TreeMap<>();
    final Map<String, Map<String, Long>> confusion = new TreeMap<>(); // true label -> predicted label -> rows
    long truncated;
    long tokens;
    long unknownTokens;

    void confuse(String trueLabel, String predicted, long change) {
      Map<String, Long> row = confusion.computeIfAbsent(trueLabel, unused -> new TreeMap<>());
      // A corrected label can take the last one away: then there is no cell.
      row.merge(predicted, change, (one, other) -> one + other == 0 ? null : Long.valueOf(one + other));
      if (row.isEmpty()) {
        confusion.remove(trueLabel);
      }
    }

    void add(Measures other) {
      other.codes.forEach((code, count) -> codes.merge(code, count, Long::sum));
      other.labels.forEach((label, count) -> labels.merge(label, count, Long::sum));
      other.confusion.forEach((label, row) -> row.forEach((predicted, count) -> confuse(label, predicted, count)));
      truncated += other.truncated;
      tokens += other.tokens;
      unknownTokens += other.unknownTokens;
    }

    Map<String, Object> document() {
      long labelled = 0;
      long correct = 0;
      for (Map.Entry<String, Map<String, Long>> row : confusion.entrySet()) {
        labelled += sum(row.getValue());
        correct += row.getValue().getOrDefault(row.getKey(), 0L);
      }
      Map<String, Object> document = new LinkedHashMap<>();
      document.put("predictions", sum(codes));
      document.put("by_code", codes);
      document.put("by_label", labels);
      document.put("labelled", labelled);
      document.put("correct", correct);
      document.put("confusion", confusion);
      document.put("truncated", truncated);
      document.put("tokens", tokens);
      document.put("unknown_tokens", unknownTokens);
      return document;
    }

    static long sum(Map<String, Long> counts) {
      return counts.values().stream().mapToLong(Long::longValue).sum();
    }
  }

  /**
   * Everything that was counted.
   *
   * <p>Memory: at most maxRows rows (about 0.5 KB each). Beyond that the row that came first is forgotten: it stays
   * counted, but its repetition would count again and its label would find nothing. Counters grow with the number of
   * versions, windows and pairs of labels.
   */
  static final class Counts {
    private final long windowUs;
    private final int maxRows;
    private final Map<Series, TreeMap<Long, Measures>> measures = new TreeMap<>();
    private final Map<RowKey, Row> rows = new LinkedHashMap<>();
    private final Map<String, Map<String, Long>> tallies = new TreeMap<>();
    private long forgotten;

    Counts(long windowS, int maxRows) {
      this.windowUs = windowS * 1_000_000;
      this.maxRows = maxRows;
    }

    void clear() {
      measures.clear();
      rows.clear();
      tallies.clear();
      forgotten = 0;
    }

    /** Count one message, whatever it is. */
    void take(String topic, Map<String, byte[]> headers, byte[] value) {
      try {
        if (topic.equals(PREDICTIONS)) {
          take(prediction(headers, value));
        } else {
          take(feedback(headers, value));
        }
      } catch (Poison error) {
        tally(claimedTenant(headers), "poison", 1);
      }
    }

    private void take(Prediction event) throws Poison {
      Row row = row(new RowKey(event.getTenant(), event.getRequestId(), event.getRow()));
      // A row has one prediction per arm, under one ce_id: whoever repeats an event keeps both.
      if (row.arms.containsKey(event.getArm())) {
        tally(event.getTenant(), "duplicates", 1);
        return;
      }
      if (row.label != null && row.arms.isEmpty()) {
        tally(event.getTenant(), "unjoined_feedback", -1);
      }
      long startUs = windowUs == 0 ? 0 : Math.floorDiv(timeUs(event.getAcceptTime()), windowUs) * windowUs;
      Measures place =
          measures
              .computeIfAbsent(
                  new Series(event.getTenant(), event.getModel(), event.getVersion(), event.getArm()),
                  unused -> new TreeMap<>())
              .computeIfAbsent(startUs, unused -> new Measures());
      String answer = event.getCode().equals("OK") ? event.getLabel() : "";
      place.codes.merge(event.getCode(), 1L, Long::sum);
      if (!answer.isEmpty()) {
        place.labels.merge(answer, 1L, Long::sum);
        if (row.label != null) {
          place.confuse(row.label.text(), answer, 1);
        }
      }
      place.truncated += event.getTruncated() ? 1 : 0;
      place.tokens += event.getNumTokens();
      place.unknownTokens += event.getNumUnknownTokens();
      row.arms.put(event.getArm(), new Counted(place, answer));
    }

    private void take(Feedback event) throws Poison {
      Row row = row(new RowKey(event.getTenant(), event.getRequestId(), event.getRow()));
      Label older = row.label;
      Label label = new Label(timeUs(event.getReceiveTime()), event.getTrueLabel());
      if (older != null) {
        tally(event.getTenant(), "duplicates", 1);
        if (!label.isNewerThan(older)) {
          return;
        }
      } else if (row.arms.isEmpty()) {
        tally(event.getTenant(), "unjoined_feedback", 1);
      }
      row.label = label;
      for (Counted counted : row.arms.values()) {
        if (!counted.answer().isEmpty()) {
          counted.measures().confuse(label.text(), counted.answer(), 1);
          if (older != null) {
            counted.measures().confuse(older.text(), counted.answer(), -1);
          }
        }
      }
    }

    private Row row(RowKey key) {
      Row row = rows.computeIfAbsent(key, unused -> new Row());
      if (rows.size() > maxRows) {
        rows.remove(rows.keySet().iterator().next());
        forgotten++;
      }
      return row;
    }

    private void tally(String tenant, String name, long change) {
      tallies.computeIfAbsent(tenant, unused -> new HashMap<>()).merge(name, change, Long::sum);
    }

    Map<String, Object> document() {
      List<Object> versions = new ArrayList<>();
      measures.forEach(
          (series, byWindow) -> {
            Measures total = new Measures();
            List<Object> windows = new ArrayList<>();
            byWindow.forEach(
                (startUs, window) -> {
                  total.add(window);
                  if (windowUs != 0) {
                    Map<String, Object> document = new LinkedHashMap<>();
                    document.put("start_time", Instant.ofEpochSecond(startUs / 1_000_000).toString());
                    document.putAll(window.document());
                    windows.add(document);
                  }
                });
            Map<String, Object> version = new LinkedHashMap<>();
            version.put("tenant", series.tenant());
            version.put("model", series.model());
            version.put("version", series.version());
            version.put("arm", series.arm());
            version.put("total", total.document());
            version.put("windows", windows);
            versions.add(version);
          });
      // An empty tenant: poison whose envelope does not say whose it is.
      Map<String, Object> tenants = new LinkedHashMap<>();
      tallies.forEach(
          (tenant, tally) -> {
            Map<String, Object> document = new LinkedHashMap<>();
            for (String name : List.of("duplicates", "unjoined_feedback", "poison")) {
              document.put(name, tally.getOrDefault(name, 0L));
            }
            tenants.put(tenant, document);
          });
      Map<String, Object> document = new LinkedHashMap<>();
      document.put("versions", versions);
      document.put("tenants", tenants);
      document.put("forgotten_rows", forgotten);
      return document;
    }
  }

  // ---- Kafka

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
      consumer.subscribe(List.of(prefix + PREDICTIONS, prefix + FEEDBACK), this);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {}

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
      counts.clear();
      left.clear();
      left.putAll(consumer.endOffsets(assigned));
      consumer.seekToBeginning(assigned);
      partitions = new LinkedHashMap<>(Map.of(PREDICTIONS, new ArrayList<>(), FEEDBACK, new ArrayList<>()));
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
