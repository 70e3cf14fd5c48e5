# What release needs in an account and never makes by itself: a network, two security groups, a role for the agent. OpenTofu or Terraform.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "users" {
  description = "Networks that users come from."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "alb" {
  description = "Make an application load balancer, too."
  type        = bool
  default     = false
}

variable "installation" {
  description = "Id of the installation, once the agent ran: installation.json in its state folder. Without it the agent may change what carries any installation's tag."
  type        = string
  default     = ""
}

provider "aws" {
  region = var.region
}

data "aws_availability_zones" "here" {
  state = "available"
}

resource "aws_vpc" "release" {
  cidr_block           = "10.80.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "release" }
}

resource "aws_internet_gateway" "release" {
  vpc_id = aws_vpc.release.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.release.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.release.id
  }
}

# The agent's instance, and the balancer, stand where users reach them.
resource "aws_subnet" "public" {
  count                   = 2
  vpc_id                  = aws_vpc.release.id
  cidr_block              = cidrsubnet(aws_vpc.release.cidr_block, 8, count.index)
  availability_zone       = data.aws_availability_zones.here.names[count.index]
  map_public_ip_on_launch = true
  tags                    = { Name = "release-public-${count.index}" }
}

resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

# Nodes need no way out: they are reached by the agent and the routers only.
resource "aws_subnet" "nodes" {
  count             = 2
  vpc_id            = aws_vpc.release.id
  cidr_block        = cidrsubnet(aws_vpc.release.cidr_block, 4, count.index + 1)
  availability_zone = data.aws_availability_zones.here.names[count.index]
  tags              = { Name = "release-nodes-${count.index}" }
}

resource "aws_security_group" "edge" {
  name        = "release-edge"
  description = "The agent with its router, and the balancer"
  vpc_id      = aws_vpc.release.id

  ingress {
    description = "users"
    from_port   = 80
    to_port     = 80
    protocol    = "tcp"
    cidr_blocks = var.users
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "nodes" {
  name        = "release-nodes"
  description = "Nodes: let in who routes to them and asks for their health"
  vpc_id      = aws_vpc.release.id

  ingress {
    description     = "the app's port"
    from_port       = 8080
    to_port         = 8080
    protocol        = "tcp"
    security_groups = [aws_security_group.edge.id]
  }
}

# What may be changed carries a tag, of any installation; with var.installation it carries that one's.
locals {
  tagged = "\"Null\": {\"aws:ResourceTag/release.installation\": \"false\"}"
  ours   = var.installation == "" ? local.tagged : "\"StringEquals\": {\"aws:ResourceTag/release.installation\": \"${var.installation}\"}"
}

# The role of the agent's instance. The policies are those of docs/ec2.md and docs/alb.md.
resource "aws_iam_role" "agent" {
  name = "release-agent"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "agent" {
  name   = "release"
  role   = aws_iam_role.agent.id
  policy = replace(file("${path.module}/policy.json"), local.tagged, local.ours)
}

resource "aws_iam_role_policy" "agent_alb" {
  count  = var.alb ? 1 : 0
  name   = "release-alb"
  role   = aws_iam_role.agent.id
  policy = replace(file("${path.module}/policy-alb.json"), local.tagged, local.ours)
}

resource "aws_iam_instance_profile" "agent" {
  name = "release-agent"
  role = aws_iam_role.agent.name
}

resource "aws_lb" "release" {
  count              = var.alb ? 1 : 0
  name               = "release"
  load_balancer_type = "application"
  security_groups    = [aws_security_group.edge.id]
  subnets            = aws_subnet.public[*].id
}

# What is for no route. release adds rules before it, and leaves it as it is.
resource "aws_lb_listener" "http" {
  count             = var.alb ? 1 : 0
  load_balancer_arn = aws_lb.release[0].arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "no release serves"
      status_code  = "503"
    }
  }
}

output "agent_yaml" {
  description = "The part of agent.yaml for this account."
  value = yamlencode(merge(
    { ec2 = { region = var.region, subnets = aws_subnet.nodes[*].id, security_groups = [aws_security_group.nodes.id] } },
    { for name in var.alb ? ["router"] : [] : name => { backend = "alb", alb = { name = one(aws_lb.release[*].name), region = var.region } } },
  ))
}

output "agent" {
  description = "Where the agent's instance belongs."
  value = {
    subnet           = aws_subnet.public[0].id
    security_group   = aws_security_group.edge.id
    instance_profile = aws_iam_instance_profile.agent.name
  }
}

output "listener" {
  value = one(aws_lb_listener.http[*].arn)
}
