"""Publishes a message to an SNS topic to which the queue of events subscribes, and ends the subscription.

    publish.py TOPIC (raw | wrapped) MESSAGE

Makes the topic if there is none.
"""

import os
import sys

import boto3


def main(name: str, kind: str, message: str) -> None:
    sns, queue = boto3.client("sns"), os.environ["EVENTS_QUEUE_URL"]
    topic = sns.create_topic(Name=name)["TopicArn"]
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    subscription = sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"], ReturnSubscriptionArn=True,
        Attributes={"RawMessageDelivery": "true"} if kind == "raw" else {},
    )["SubscriptionArn"]
    sns.publish(TopicArn=topic, Message=message, Subject="An event")
    sns.unsubscribe(SubscriptionArn=subscription)


if __name__ == "__main__":
    main(*sys.argv[1:])
