// SPDX-License-Identifier: Apache-2.0
package aerobee.old;

import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;

/**
 * Scenarios on the official Java SDK of before version 5, asked for and answered as those of the program on the
 * present one: {@code run SCENARIO key=value...}, {@code serve}, {@code list}.
 */
public final class Main {
    private static final Map<String, Scenario> SCENARIOS = new TreeMap<>();

    static {
        Sending.list(SCENARIOS);
        Consuming.list(SCENARIOS);
        Access.list(SCENARIOS);
    }

    private Main() {
    }

    /** One thing to try. */
    interface Scenario {
        void run(Context context) throws Exception;
    }

    public static void main(String[] args) throws Exception {
        String command = args.length == 0 ? "" : args[0];
        switch (command) {
            case "run" -> {
                Map<String, String> with = new HashMap<>();
                with.put("prefix", "p" + System.currentTimeMillis());
                for (int i = 2; i < args.length; i++) {
                    int cut = args[i].indexOf('=');
                    with.put(args[i].substring(0, cut), args[i].substring(cut + 1));
                }
                System.exit(perform(args[1], new Context(0, with)) ? 0 : 1);
            }
            case "serve" -> serve();
            case "list" -> SCENARIOS.keySet().forEach(System.out::println);
            default -> {
                System.err.println("usage: run SCENARIO namesrv=HOST:PORT [prefix=WORD] | serve | list");
                System.exit(2);
            }
        }
    }

    private static void serve() throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        while ((line = in.readLine()) != null) {
            JSONObject asked = JSON.parseObject(line);
            if (asked.containsKey("stop")) {
                continue;
            }
            Map<String, String> with = new HashMap<>();
            asked.getJSONObject("with").forEach((key, value) -> with.put(key, String.valueOf(value)));
            Context context = new Context(asked.getLongValue("id"), with);
            new Thread(() -> perform(asked.getString("scenario"), context)).start();
        }
        System.exit(0);
    }

    private static boolean perform(String name, Context context) {
        String error = null;
        try {
            Scenario scenario = SCENARIOS.get(name);
            if (scenario == null) {
                throw new IllegalArgumentException("no scenario '" + name + "'; known: " + SCENARIOS.keySet());
            }
            scenario.run(context);
        } catch (Throwable thrown) {
            StringWriter trace = new StringWriter();
            thrown.printStackTrace(new PrintWriter(trace));
            error = trace.toString();
        }
        context.close();
        context.done(error);
        return error == null;
    }
}
